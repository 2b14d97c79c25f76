import groovy.util.slurpersupport.GPathResult
import java.nio.channels.FileChannel
import java.nio.channels.FileLock
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption
import java.nio.file.StandardOpenOption
import java.util.concurrent.TimeUnit
import org.xml.sax.SAXException

/** A step did not succeed; the text is what the console says after ERROR. */
class StepFailed extends RuntimeException {
    final String result

    StepFailed(String text, String result = 'FAILURE') {
        super(text)
        this.result = result
    }
}

/**
 * Runs a file the way Jenkins does, in one workspace: stages in order, branches one after the other.
 *
 * Order of a stage, as Jenkins has it: its options, its `when`, its environment with credentials, its
 * body, its `post`. So a stage that is skipped never asks for a credential, but waits for a lock among
 * its options, unless its `when` says `beforeOptions true`.
 */
class Runner {
    static final List<String> SEVERITY = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'ABORTED']
    /** What Jenkins leaves to `post` once a timeout has fired. */
    static final long GRACE_MS = 60_000

    private final Tree tree
    private final Reading reading
    private final Console console
    private final Map job
    private final File workspace
    private final List<Map> stages = []
    private final Map<String, File> stashes = [:]
    private final Map<String, Closure> doing
    private File folder
    private long deadline = Long.MAX_VALUE
    private Map current
    private Map build = [result: 'SUCCESS', steps: []]
    private boolean skipAfterUnstable
    private int scripts

    Runner(Tree tree, Reading reading, Console console, Map job) {
        this.tree = tree
        this.reading = reading
        this.console = console
        this.job = job
        this.workspace = new File(job.workspace.toString())
        this.folder = workspace
        this.doing = [
            archiveArtifacts: this.&archiveArtifacts, catchError: this.&catchError, checkout: this.&checkout, cleanWs: this.&emptyFolder,
            deleteDir: this.&emptyFolder, dir: this.&inFolder, echo: { Step step -> console.line(step.parameters.message.toString()) },
            error: { Step step -> throw new StepFailed(step.parameters.message.toString()) }, junit: this.&junit, lock: this.&lockStep,
            retry: this.&retryStep, sh: this.&sh, stash: this.&stash, timeout: this.&timeoutStep, unstable: this.&unstable,
            unstash: this.&unstash, withCredentials: this.&blockOnly, withEnv: this.&blockOnly,
        ]
    }

    static String label(Map<String, String> cell) {
        'Matrix - ' + cell.collect { key, value -> "${key} = '${value}'" }.join(', ')
    }

    Map run(Stage root) {
        console.timestamps = root.option('timestamps') != null
        skipAfterUnstable = root.option('skipStagesAfterUnstable') != null
        current = build
        console.line('[Pipeline] Start of Pipeline')
        console.line("Running on the harness in ${workspace}")
        reading.within([WORKSPACE: workspace.path, WORKSPACE_TMP: workspace.path + '@tmp'], []) {
            guarded(build) {
                bound(tree.environment(root.environment)) {
                    wrapped(root.options) {
                        guarded(build) { children(root, []) }
                        post(root, build)
                    }
                }
            }
        }
        console.secrets = []
        console.line('[Pipeline] End of Pipeline')
        console.line("Finished: ${build.result}")
        [result: build.result, stages: stages, post: build.steps, archived: build.archived ?: [], warnings: build.warnings ?: []]
    }

    /** `work` with an environment's plain values set, then its credentials bound. */
    private void bound(Map<String, Object> declared, Closure work) {
        reading.within(declared.findAll { it.value instanceof String }, []) { credentials(declared, work) }
    }

    private void credentials(Map<String, Object> declared, Closure work) {
        List<Bound> found = declared.findAll { it.value instanceof CredentialRef }.collect { name, ref -> reading.credentials.bind(name, ref.id) }
        if (found) {
            console.line("Masking supported pattern matches of ${found.collectMany { it.variables.keySet() }.collect { '$' + it }.join(' or ')}")
        }
        hidden(found.collectEntries { it.variables }, found.collectMany { it.secrets }, work)
    }

    private void hidden(Map<String, String> variables, List<String> secrets, Closure work) {
        Collection<String> before = console.secrets
        console.secrets = before + secrets
        try {
            reading.within(variables, secrets, work)
        } finally {
            console.secrets = before
        }
    }

    /** `work`, its failure turned into the result of `record` and a line of the console. */
    private void guarded(Map record, Closure work) {
        try {
            work()
        } catch (StepFailed failed) {
            console.line((failed.result == 'ABORTED' ? '' : 'ERROR: ') + failed.message)
            worsen(record, failed.result)
            record.reason = record.reason ?: console.masked(failed.message)
        } catch (MissingCredential missing) {
            console.line("ERROR: ${missing.message}")
            worsen(record, 'FAILURE')
            record.reason = record.reason ?: missing.message
        }
    }

    private static void worsen(Map record, String result) {
        if (SEVERITY.indexOf(result) > SEVERITY.indexOf(record.result)) {
            record.result = result
        }
    }

    private String stage(Stage stage, List<String> path, String earlier) {
        Map record = [path: path, line: stage.line, result: 'SUCCESS', steps: []]
        Map outer = current
        long began = System.currentTimeMillis()
        stages << record
        console.line('[Pipeline] stage')
        console.line("[Pipeline] { (${path.last()})")
        current = record
        if (earlier) {
            skip(stage, record, earlier)
        } else {
            guarded(record) { entered(stage, path, record) }
        }
        current = outer
        console.line('[Pipeline] }')
        console.line('[Pipeline] // stage')
        record.duration_s = (System.currentTimeMillis() - began) / 1000.0
        record.result
    }

    private void entered(Stage stage, List<String> path, Map record) {
        List<Map> conditions = stage.when ? tree.when(stage.when) : []
        Closure allowed = { Closure work -> When.holds(conditions, reading) ? work() : skip(stage, record, 'when conditional') }
        Closure body = {
            record.result = 'SUCCESS'  // whatever a first try among its options came to
            bound(tree.environment(stage.environment)) {
                StepFailed failed = null
                try {
                    if (stage.steps) {
                        steps(tree.steps(stage.steps, false))
                    } else {
                        children(stage, path)
                    }
                } catch (StepFailed failure) {
                    failed = failure
                    worsen(record, failed.result)
                }
                post(stage, record)
                if (failed) {
                    throw failed
                }
            }
        }
        reading.within([STAGE_NAME: stage.name], []) {
            if (When.isBeforeOptions(conditions)) {
                allowed { wrapped(stage.options, body) }
            } else {
                wrapped(stage.options) { allowed(body) }
            }
        }
    }

    private void skip(Stage stage, Map record, String why) {
        console.line("Stage \"${record.path.last()}\" skipped due to ${why}")
        record.result = 'NOT_BUILT'
        record.skipped = why
        if (stage.kind != 'matrix') {
            stage.children.each { this.stage(it, record.path + [it.name], why) }
        }
    }

    private void children(Stage stage, List<String> path) {
        Map record = current
        boolean together = stage.kind in ['parallel', 'matrix']
        List<List> all = stage.kind == 'matrix'
            ? Tree.cells(stage).collect { [stage.children[0], label(it), it] }
            : stage.children.collect { [it, it.name, [:]] }
        String earlier = null
        all.each { Stage child, String name, Map cell ->
            String result = null
            reading.within(cell, []) { result = this.stage(child, path + [name], earlier) }
            worsen(record, result)
            if (result in ['FAILURE', 'ABORTED'] && (!together || stage.failFast)) {
                earlier = 'earlier failure(s)'
            } else if (result == 'UNSTABLE' && skipAfterUnstable && !together) {
                earlier = 'earlier stage(s) marking the build as unstable'
            }
        }
    }

    private void post(Stage stage, Map record) {
        if (System.currentTimeMillis() > deadline) {
            deadline = System.currentTimeMillis() + GRACE_MS
        }
        String previous = job.previousResult ?: 'SUCCESS'
        Vocabulary.POST_CONDITIONS.findAll { stage.post[it] }.each { String condition ->
            String now = record.result
            boolean holds = [
                always: true, cleanup: true, changed: previous != now, fixed: previous in ['FAILURE', 'UNSTABLE'] && now == 'SUCCESS',
                regression: previous == 'SUCCESS' && now != 'SUCCESS', aborted: now == 'ABORTED', failure: now == 'FAILURE',
                success: now == 'SUCCESS', unstable: now == 'UNSTABLE', unsuccessful: now != 'SUCCESS',
            ][condition]
            if (holds) {
                console.line("Post stage: ${condition}")
                record.post = (record.post ?: []) + condition
                guarded(record) { steps(tree.steps(stage.post[condition], false)) }
            }
        }
    }

    /** `work` within what options or steps wrap around it: lock, timeout, retry. */
    private void wrapped(List<Option> options, Closure work) {
        Closure whole = work
        options.reverse().each { Option option ->
            Closure inner = whole
            if (option.name == 'timeout') {
                whole = { timed(option.parameters ?: [time: option.value], inner) }
            } else if (option.name == 'retry') {
                whole = { retried((option.value ?: option.parameters.count) as int, inner) }
            } else if (option.name == 'lock') {
                whole = { locked((option.value ?: option.parameters.resource).toString(), inner) }
            }
        }
        whole()
    }

    private void steps(List<Step> found) {
        if (reading.faults) {
            throw new StepFailed(reading.faults[0].text.toString())
        }
        found.each { Step step ->
            while (reading.warnings) {
                Map warning = reading.warnings.remove(0)
                (build.warnings = build.warnings ?: []) << warning
                console.line("Warning: ${warning.text}")
            }
            if (System.currentTimeMillis() > deadline) {
                throw new StepFailed('Timeout has been exceeded', 'ABORTED')
            }
            Map record = [name: step.name, line: step.line, text: console.masked((step.parameters.values() ? step.parameters.values()[0] : '').toString())]
            long began = System.currentTimeMillis()
            current.steps << record
            console.line("[Pipeline] ${step.name}")
            try {
                doing[step.name].call(step)
                record.result = record.result ?: 'SUCCESS'
            } catch (StepFailed failed) {
                record.result = failed.result
                throw failed
            } finally {
                record.duration_s = (System.currentTimeMillis() - began) / 1000.0
            }
        }
    }

    private void body(Step step) {
        Map more = tree.additions(step)
        console.line('[Pipeline] {')
        hidden(more.variables, more.secrets) { steps(tree.steps(step.body, false)) }
        console.line('[Pipeline] }')
    }

    private void blockOnly(Step step) {
        body(step)
    }

    /** With `nohup` in front, as the plugin durable-task does it: a hang-up ends nothing that a step starts. */
    private void sh(Step step) {
        File scratch = new File(workspace.path + '@tmp')
        scratch.mkdirs()
        File script = new File(scratch, "script-${++scripts}.sh")
        script.setText(step.parameters.script.toString(), 'UTF-8')
        ProcessBuilder builder = new ProcessBuilder('nohup', '/bin/sh', '-xe', script.path).directory(folder).redirectErrorStream(true)
            .redirectInput(new File('/dev/null'))
        builder.environment().clear()
        builder.environment().putAll(reading.scope)
        Process process = builder.start()
        Thread reader = Thread.start { process.inputStream.eachLine('UTF-8') { String line -> console.line(line) } }
        boolean ended = process.waitFor(Math.min(deadline - System.currentTimeMillis(), TimeUnit.DAYS.toMillis(1)), TimeUnit.MILLISECONDS)
        if (!ended) {
            console.line('Cancelling nested steps due to timeout')
            process.toHandle().descendants().toArray().each { it.destroyForcibly() }
            process.destroyForcibly().waitFor()
        }
        reader.join(5000)  // a process left behind may hold the pipe
        script.delete()
        current.steps.last().exit_code = process.exitValue()
        if (!ended) {
            throw new StepFailed('Timeout has been exceeded', 'ABORTED')
        }
        if (process.exitValue() != 0) {
            throw new StepFailed("script returned exit code ${process.exitValue()}".toString())
        }
    }

    private void timeoutStep(Step step) {
        timed(step.parameters) { body(step) }
    }

    private void timed(Map parameters, Closure work) {
        long before = deadline
        TimeUnit unit = TimeUnit.valueOf((parameters.unit ?: 'MINUTES').toString())
        deadline = Math.min(before, System.currentTimeMillis() + unit.toMillis(parameters.time as long))
        try {
            work()
        } finally {
            deadline = before
        }
    }

    private void retryStep(Step step) {
        retried(step.parameters.count as int) { body(step) }
    }

    private void retried(int count, Closure work) {
        for (int left = count; ; left--) {
            try {
                work()
                return
            } catch (StepFailed failed) {
                if (left <= 1 || failed.result == 'ABORTED') {
                    throw failed
                }
                console.line("ERROR: ${failed.message}")
                console.line('Retrying')
            }
        }
    }

    private void lockStep(Step step) {
        locked(step.parameters.resource.toString()) { body(step) }
    }

    /** Holds the resource against other runs of the harness: a lock on a file of the folder they share. */
    private void locked(String resource, Closure work) {
        File file = new File(job.locks.toString(), resource.replaceAll('[^A-Za-z0-9_.-]', '_') + '.lock')
        file.parentFile.mkdirs()
        console.line("Trying to acquire lock on [Resource: ${resource}]")
        FileChannel channel = FileChannel.open(file.toPath(), StandardOpenOption.CREATE, StandardOpenOption.WRITE)
        try {
            FileLock held = channel.tryLock()
            while (held == null) {
                if (System.currentTimeMillis() > deadline) {
                    throw new StepFailed('Timeout has been exceeded', 'ABORTED')
                }
                Thread.sleep(50)
                held = channel.tryLock()
            }
            console.line("Lock acquired on [Resource: ${resource}]")
            work()
        } finally {
            channel.close()
            console.line("Lock released on resource [Resource: ${resource}]")
        }
    }

    private void inFolder(Step step) {
        File before = folder
        folder = new File(folder, step.parameters.path.toString()).canonicalFile
        folder.mkdirs()
        console.line("Running in ${folder}")
        try {
            body(step)
        } finally {
            folder = before
        }
    }

    private void catchError(Step step) {
        try {
            body(step)
        } catch (StepFailed failed) {
            console.line("ERROR: ${failed.message}")
            worsen(current, (step.parameters.stageResult ?: step.parameters.buildResult ?: 'FAILURE').toString())
        }
    }

    private void unstable(Step step) {
        console.line("WARNING: ${step.parameters.message}")
        worsen(current, 'UNSTABLE')
    }

    private void checkout(Step step) {
        console.line('The workspace is checked out already; the harness leaves it as it is')
    }

    private void emptyFolder(Step step) {
        folder.listFiles().each { it.directory && !Files.isSymbolicLink(it.toPath()) ? it.deleteDir() : it.delete() }
    }

    private List<Path> matching(String patterns) {
        Path root = folder.toPath()
        List<String> wanted = patterns.split(',')*.trim()*.replaceFirst('^\\./', '').collect { When.regex(it) }
        Set<String> starts = patterns.split(',')*.trim().collect { it.contains('/') ? it.substring(0, it.indexOf('/')) : '' }
        List<Path> found = []
        starts.each { String start ->
            boolean wild = start.contains('*') || start.contains('?')
            File at = wild || !start ? folder : new File(folder, start)
            if (at.directory) {
                Closure<Void> look = { File file ->
                    String name = root.relativize(file.toPath()).toString()
                    if (file.file && wanted.any { name ==~ it }) {
                        found << file.toPath()
                    }
                }
                start || wild ? at.eachFileRecurse(look) : at.eachFile(look)
            }
        }
        found.unique().sort()
    }

    private void copied(List<Path> files, File into) {
        files.each { Path file ->
            Path target = into.toPath().resolve(folder.toPath().relativize(file))
            Files.createDirectories(target.parent)
            Files.copy(file, target, StandardCopyOption.REPLACE_EXISTING)
        }
    }

    private void archiveArtifacts(Step step) {
        console.line('Archiving artifacts')
        List<Path> files = matching(step.parameters.artifacts.toString())
        if (!files && !step.parameters.allowEmptyArchive) {
            throw new StepFailed("No artifacts found that match the file pattern \"${step.parameters.artifacts}\". Configuration error?".toString())
        }
        copied(files, new File(job.archive.toString()))
        build.archived = (build.archived ?: []) + files.collect { folder.toPath().relativize(it).toString() }
    }

    private void junit(Step step) {
        console.line('Recording test results')
        List<Path> files = matching(step.parameters.testResults.toString())
        if (!files) {
            if (!step.parameters.allowEmptyResults) {
                throw new StepFailed('No test report files were found. Configuration error?')
            }
            console.line('None of the test reports contained any result')
            return
        }
        Map counts = [tests: 0, failures: 0, skipped: 0]
        files.each { Path file ->
            suites(file, counts).depthFirst().findAll { it.name() == 'testsuite' && it.@tests.text() }.each { suite ->
                counts.tests += suite.@tests.text() as int
                counts.failures += ['failures', 'errors'].sum { name -> (suite.@"$name".text() ?: '0') as int }
                counts.skipped += (suite.@skipped.text() ?: '0') as int
            }
        }
        current.steps.last().tests = counts
        console.line("${counts.tests} tests, ${counts.failures} failed, ${counts.skipped} skipped")
        if (counts.failures && !step.parameters.skipMarkingBuildUnstable) {
            worsen(current, 'UNSTABLE')
        }
    }

    /** A report that cannot be read counts as a failed test. */
    private GPathResult suites(Path file, Map counts) {
        try {
            return new XmlSlurper().parse(file.toFile())
        } catch (SAXException unreadable) {
            console.line("Failed to read ${workspace.toPath().relativize(file)}: ${unreadable.message}")
            counts.tests++
            counts.failures++
            return new XmlSlurper().parseText('<nothing/>')
        }
    }

    private void stash(Step step) {
        File into = new File(workspace.path + '@tmp', 'stash/' + step.parameters.name)
        List<Path> files = matching((step.parameters.includes ?: '**').toString())
        if (!files && !step.parameters.allowEmpty) {
            throw new StepFailed("No files included in stash '${step.parameters.name}'".toString())
        }
        copied(files, into)
        stashes[step.parameters.name.toString()] = into
        console.line("Stashed ${files.size()} file(s)")
    }

    private void unstash(Step step) {
        File from = stashes[step.parameters.name.toString()]
        if (from == null) {
            throw new StepFailed("No such saved stash '${step.parameters.name}'".toString())
        }
        from.eachFileRecurse(groovy.io.FileType.FILES) { File file ->
            Path target = folder.toPath().resolve(from.toPath().relativize(file.toPath()))
            Files.createDirectories(target.parent)
            Files.copy(file.toPath(), target, StandardCopyOption.REPLACE_EXISTING)
        }
    }
}
