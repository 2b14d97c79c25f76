/*
 * Reads or runs Jenkinsfiles as Jenkins would, for tests and for the pipeline on one machine.
 *
 * stdin: {"jobs": [JOB…]}; stdout: the consoles; the file "answers" of the input: one JSON list, an
 * answer for each job. A JOB: mode (plan or run), source (the text of the file), environ, credentials
 * (id → kind and parts), and for a run workspace, archive, secrets and locks (folders), previousResult.
 * docs/jenkins.md says what this does not cover.
 */
import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.MultipleCompilationErrorsException

Map input = new JsonSlurper().parseText(System.in.getText('UTF-8')) as Map
List answers = input.jobs.collect { answer(it as Map) }
new File(input.answers.toString()).setText(JsonOutput.toJson(answers), 'UTF-8')

/** The closure given to the file's one `pipeline`, as compiled; faults that need no evaluation are added. */
Closure compiled(String source, Reading reading) {
    CompilerConfiguration configuration = new CompilerConfiguration()
    configuration.addCompilationCustomizers(new Shape(reading.faults))
    Closure found = null
    try {
        Script script = new GroovyShell(configuration).parse(source, Reading.FILE)
        if (reading.faults) {
            return null
        }
        script.metaClass.pipeline = { Closure body -> found = body }
        script.run()
    } catch (MultipleCompilationErrorsException exception) {
        exception.errorCollector.errors.each { error ->
            def cause = error.cause
            reading.faults << [line: cause.line, column: cause.startColumn, text: cause.originalMessage ?: cause.message]
        }
    }
    found
}

Map answer(Map job) {
    boolean running = job.mode == 'run'
    Credentials invented = new Credentials(job.credentials ?: [:], true, null)
    Reading reading = new Reading(invented)
    Closure body = compiled(job.source.toString(), reading)
    Map told = [faults: reading.faults, warnings: reading.warnings]
    if (body == null) {
        return refused(told)
    }
    reading.scope = [WORKSPACE: '/workspace', WORKSPACE_TMP: '/workspace@tmp'] + (job.environ as Map)
    Tree tree = new Tree(reading)
    Stage root = tree.pipeline(body)
    if (!reading.faults) {
        told.plan = new Plan(tree, reading).of(root)
        told.plan.credentials = invented.used.toList()
    }
    reading.faults.unique()
    reading.warnings.unique()
    if (reading.faults) {
        return refused(told)
    }
    if (running) {
        Credentials store = new Credentials(job.credentials ?: [:], false, new File(job.secrets.toString()))
        Reading live = new Reading(store)
        live.scope = [:] + (job.environ as Map)
        told.run = new Runner(new Tree(live), live, new Console(System.out), job).run(root)
    }
    told
}

/** What the console of a refused file says; line numbers as Jenkins has them. */
Map refused(Map told) {
    told.text = 'org.codehaus.groovy.control.MultipleCompilationErrorsException: startup failed:\n' + told.faults.collect { fault ->
        "${Reading.FILE}: ${fault.line}: ${fault.text} @ line ${fault.line}${fault.column ? ", column ${fault.column}" : ''}."
    }.join('\n') + "\n${told.faults.size()} error${told.faults.size() == 1 ? '' : 's'}"
    println told.text
    told.remove('plan')
    told
}
