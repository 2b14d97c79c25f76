/** A pipeline or one of its stages, as read: what is fixed as values, what depends on the run as closures. */
class Stage {
    String name
    int line
    Object agent
    Closure environment
    Closure steps
    Closure when
    Map<String, Closure> post = [:]
    List<Option> options = []
    /** Children, and how they run: 'stages', 'parallel' or 'matrix'. */
    String kind
    List<Stage> children = []
    boolean failFast
    List<Axis> axes = []
    List<List<Axis>> excludes = []

    Option option(String wanted) {
        options.find { it.name == wanted }
    }
}

class Option {
    String name
    Map<String, Object> parameters
    Object value
}

/** One axis of a matrix; in an exclude: the values it leaves out, or all but them. */
class Axis {
    String name
    List<String> values = []
    boolean others
}

class Step {
    String name
    int line
    Map<String, Object> parameters
    Closure body
    List<Step> children = []
}

/** Reads what stands in a file into a tree; what is wrong becomes faults of the reading. */
class Tree {
    private final Reading reading
    private final Set<String> stageNames = []

    Tree(Reading reading) {
        this.reading = reading
    }

    Stage pipeline(Closure body) {
        Stage root = new Stage(name: 'pipeline', line: reading.line(), kind: 'stages')
        sections(root, body, Vocabulary.PIPELINE_SECTIONS, Vocabulary.PIPELINE_OPTIONS) { String name ->
            "Undefined section \"${name}\""
        }
        if (root.agent == null) {
            reading.fault('Missing required section "agent"', root.line)
        }
        if (!root.children) {
            reading.fault(root.kind == null ? 'Missing required section "stages"' : 'No stages specified', root.line)
        }
        root
    }

    private void sections(Stage into, Closure body, List<String> names, List<String> optionNames, Closure unknown) {
        Set<String> seen = []
        Map<String, Closure> handlers = names.collectEntries { String name ->
            [name, { List given ->
                if (!seen.add(name)) {
                    reading.fault("Multiple occurrences of the ${name} section")
                }
                section(into, name, given, optionNames)
            }]
        }
        handlers['$any'] = { 'any' }
        handlers['$none'] = { 'none' }
        reading.evaluate(body, new Block(reading, handlers, { String name, List given ->
            reading.fault(unknown(name))
        }))
        if (into.name == 'pipeline' && !('stages' in seen)) {
            into.kind = null
        }
    }

    private void section(Stage into, String name, List given, List<String> optionNames) {
        Object argument = given ? given.last() : null
        if (name == 'failFast') {
            into.failFast = argument as boolean
        } else if (name == 'agent' && !(argument instanceof Closure)) {
            into.agent = agentType(argument)
        } else if (!(argument instanceof Closure)) {
            reading.fault("Expected a block for ${name}")
        } else {
            block(into, name, argument, optionNames)
        }
    }

    private void block(Stage into, String name, Closure body, List<String> optionNames) {
        switch (name) {
            case 'agent': into.agent = agent(body); break
            case 'environment': into.environment = body; break
            case 'steps': into.steps = body; break
            case 'when': into.when = body; break
            case 'post': into.post = post(body); break
            case 'options': into.options = calls(body, optionNames, 'option', Vocabulary.OPTION_VALUES); break
            case 'parameters': calls(body, Vocabulary.PARAMETER_TYPES, 'parameter', []); break
            case 'triggers': calls(body, Vocabulary.TRIGGER_TYPES, 'trigger', []); break
            case 'axes': into.axes = axes(body, false); break
            case 'excludes': into.excludes = excludes(body); break
            case 'stages': case 'parallel': into.kind = into.kind == 'matrix' ? 'matrix' : name; into.children = stages(body, name); break
            case 'matrix': matrix(into, body); break
            default: reading.fault("\"${name}\" is known to Jenkins and not covered by this harness")
        }
    }

    private Object agentType(Object argument) {
        if (!(argument in ['any', 'none'])) {
            reading.fault('Only "agent none", "agent any" or "agent {...}" are allowed.')
        }
        argument
    }

    private Object agent(Closure body) {
        List<Option> found = []
        Map handlers = Vocabulary.AGENT_TYPES.collectEntries { String name ->
            [name, { List given -> found << new Option(name: name, value: given ? given[0] : null) }]
        }
        reading.evaluate(body, new Block(reading, handlers, { String name, List given ->
            reading.fault("Invalid agent type \"${name}\" specified. Must be one of ${Vocabulary.AGENT_TYPES}")
        }))
        if (found.size() > 1) {
            reading.fault('Only one agent type is allowed per agent section')
        }
        found ? [(found[0].name): found[0].value?.toString()] : [:]
    }

    private Map<String, Closure> post(Closure body) {
        Map<String, Closure> found = [:]
        Map handlers = Vocabulary.POST_CONDITIONS.collectEntries { String name ->
            [name, { List given ->
                if (found.containsKey(name)) {
                    reading.fault("Duplicate build condition name: \"${name}\"")
                }
                if (!given || !(given[0] instanceof Closure)) {
                    reading.fault("The 'post' section can only contain build condition names with code blocks.")
                } else {
                    found[name] = given[0]
                }
            }]
        }
        int line = reading.line()
        reading.evaluate(body, new Block(reading, handlers, { String name, List given ->
            reading.fault("Invalid condition \"${name}\" - valid conditions are ${Vocabulary.POST_CONDITIONS}")
            found[name] = null
        }))
        if (!found) {
            reading.fault('post can not be empty', line)
        }
        found.findAll { it.value != null }
    }

    private List<Option> calls(Closure body, List<String> names, String what, List<String> values) {
        List<Option> found = []
        Map handlers = names.collectEntries { String name ->
            [name, { List given ->
                if (found*.name.contains(name)) {
                    reading.fault("Duplicate ${what} name: \"${name}\"")
                }
                boolean named = given && given[0] instanceof Map
                found << new Option(name: name, parameters: named ? given[0] : [:], value: named || !given ? null : given[0])
            }]
        } + values.collectEntries { String name -> [name, { List given -> "${name}${given}".toString() }] }
        reading.evaluate(body, new Block(reading, handlers, { String name, List given ->
            reading.fault("Invalid ${what} type \"${name}\". Valid ${what} types: ${names}")
        }))
        found
    }

    private List<Stage> stages(Closure body, String section) {
        List<Stage> found = []
        int line = reading.line()
        reading.evaluate(body, new Block(reading, [stage: { List given ->
            if (given.size() < 2 || !(given.last() instanceof Closure)) {
                reading.fault(given ? "Stage doesn't have a block" : "Expected a stage name but didn't find any")
            } else {
                found << stage(given[0].toString(), given.last())
            }
        }], { String name, List given -> reading.fault('Expected a stage') }))
        if (!found) {
            reading.fault('No stages specified', line)
        }
        found
    }

    private Stage stage(String name, Closure body) {
        Stage found = new Stage(name: name, line: reading.line())
        if (!name) {
            reading.fault('Stage does not have a name')
        }
        if (!stageNames.add(name)) {
            reading.fault("Duplicate stage name: \"${name}\"")
        }
        sections(found, body, Vocabulary.STAGE_SECTIONS, Vocabulary.STAGE_OPTIONS) { String section ->
            "Unknown stage section \"${section}\". Starting with version 0.5, steps in a stage must be in a 'steps' block."
        }
        if (!found.steps && !found.kind) {
            reading.fault("Expected one of \"steps\", \"stages\", or \"parallel\" for stage \"${name}\"", found.line)
        }
        if (found.steps && found.kind) {
            reading.fault("Only one of \"matrix\", \"parallel\", \"stages\", or \"steps\" allowed for stage \"${name}\"", found.line)
        }
        found
    }

    private void matrix(Stage into, Closure body) {
        Stage cell = new Stage(name: into.name, line: reading.line(), kind: 'matrix')
        sections(cell, body, Vocabulary.MATRIX_SECTIONS, Vocabulary.STAGE_OPTIONS) { String name ->
            "Unknown matrix section \"${name}\""
        }
        if (!cell.axes) {
            reading.fault('Missing required section "axes"', cell.line)
        }
        if (!cell.children) {
            reading.fault('Missing required section "stages"', cell.line)
        }
        into.kind = 'matrix'
        into.axes = cell.axes
        into.excludes = cell.excludes
        into.children = [cell]
        cell.kind = 'stages'
    }

    private List<Axis> axes(Closure body, boolean excluding) {
        List<Axis> found = []
        reading.evaluate(body, new Block(reading, [axis: { List given ->
            Axis axis = new Axis()
            Map parts = [name: { List words -> axis.name = words[0] }, values: { List words -> axis.values = words*.toString() }]
            if (excluding) {
                parts.notValues = { List words ->
                    axis.values = words*.toString()
                    axis.others = true
                }
            }
            reading.evaluate(given[0], new Block(reading, parts, { String name, List words -> reading.fault("Unknown axis section \"${name}\"") }))
            if (!axis.name || !axis.values) {
                reading.fault('An axis has a name and values')
            }
            found << axis
        }], { String name, List given -> reading.fault("Expected an axis but got \"${name}\"") }))
        found
    }

    private List<List<Axis>> excludes(Closure body) {
        List<List<Axis>> found = []
        reading.evaluate(body, new Block(reading, [exclude: { List given -> found << axes(given[0], true) }],
            { String name, List given -> reading.fault("Expected an exclude but got \"${name}\"") }))
        found
    }

    /** The cells of a matrix: for each, axis name → value. */
    static List<Map<String, String>> cells(Stage stage) {
        List<Map<String, String>> all = stage.axes.inject([[:]]) { List cells, Axis axis ->
            cells.collectMany { Map cell -> axis.values.collect { cell + [(axis.name): it] } }
        }
        all.findAll { Map cell ->
            !stage.excludes.any { List<Axis> exclude -> exclude.every { (cell[it.name] in it.values) != it.others } }
        }
    }

    /** The variables an `environment {}` sets where the reading stands: name → text or CredentialRef, in order. */
    Map<String, Object> environment(Closure body) {
        Map<String, Object> found = [:]
        if (body == null) {
            return found
        }
        Map<String, String> before = reading.scope
        reading.scope = [:] + before
        int line = reading.line()
        try {
            reading.evaluate(body, new Block(reading, [credentials: { List given -> new CredentialRef(given[0].toString()) }],
                { String name, List given -> reading.fault("Environment variable values must either be strings or function calls: ${name}") },
                { String name, Object value ->
                    if (found.containsKey(name)) {
                        reading.fault("Duplicate environment variable name: \"${name}\"")
                    }
                    if (value instanceof CharSequence) {
                        warnOfSecrets('environment', value)
                        found[name] = value.toString()
                        reading.scope[name] = found[name]
                    } else if (value instanceof CredentialRef) {
                        found[name] = value
                        reading.scope += reading.credentials.peek(name)
                    } else {
                        reading.fault('Environment variable values must either be strings or function calls.')
                    }
                }))
        } finally {
            reading.scope = before
        }
        if (!found) {
            reading.fault('No variables specified for environment', line)
        }
        found
    }

    /** The conditions of a `when {}`: each a map of its name, its parameters and its children. */
    List<Map> when(Closure body) {
        List<Map> found = []
        Map handlers = Vocabulary.WHEN_CONDITIONS.collectEntries { String name ->
            [name, { List given -> found << condition(name, given) }]
        } + When.MOMENTS.collectEntries { String name -> [name, { List given -> found << [name: name, value: given[0]] }] }
        reading.evaluate(body, new Block(reading, handlers, { String name, List given ->
            reading.fault("Unknown conditional ${name}. Valid conditionals are: ${Vocabulary.WHEN_CONDITIONS.join(', ')}")
            found << [name: name]
        }))
        if (found.every { it.name in When.MOMENTS }) {
            reading.fault('Empty when closure, remove the property or add some content.')
        }
        found
    }

    private Map condition(String name, List given) {
        if (name in ['not', 'allOf', 'anyOf']) {
            List<Map> children = when(given[0])
            if (name == 'not' && children.size() != 1) {
                reading.fault('Nested when condition "not" requires exactly 1 child condition(s).')
            }
            return [name: name, children: children]
        }
        if (name == 'expression') {
            return [name: name, body: given[0]]
        }
        Map parameters = given && given[0] instanceof Map ? given[0] : [pattern: given ? given[0].toString() : null]
        if (name == 'branch' && !parameters.pattern) {
            reading.fault('Missing required parameter: "pattern"')
        }
        [name: name, parameters: parameters]
    }

    /** The steps of a block where the reading stands; `deep`: those within other steps' blocks too. */
    List<Step> steps(Closure body, boolean deep) {
        List<Step> found = []
        int line = reading.line()
        Map<String, Closure> handlers = Vocabulary.STEPS.collectEntries { String name, Map known ->
            [name, { List given ->
                Step step = step(name, known, given, deep)
                if (step) {
                    found << step
                }
            }]
        }
        Vocabulary.BINDINGS.each { String kind, List<String> variables ->
            handlers[kind] = { List given -> binding(kind, variables, given) }
        }
        reading.evaluate(body, new Block(reading, handlers, { String name, List given ->
            reading.fault(name in Vocabulary.NOT_COVERED
                ? "step \"${name}\" is known to Jenkins and not covered by this harness"
                : "java.lang.NoSuchMethodError: No such DSL method '${name}' found among steps ${Vocabulary.STEPS.keySet()}")
        }))
        if (!found && !reading.faults) {
            reading.fault('No steps specified for branch', line)
        }
        found
    }

    private CredentialBinding binding(String kind, List<String> variables, List given) {
        Map parameters = given && given[0] instanceof Map ? given[0] : [:]
        parameters.keySet().findAll { !(it in ['credentialsId'] + variables) }.each {
            reading.fault("Invalid parameter \"${it}\", did you mean \"${variables[0]}\"?")
        }
        (kind == 'sshUserPrivateKey' ? variables.take(1) : variables).plus('credentialsId').findAll { !parameters[it] }.each {
            reading.fault("Missing required parameter: \"${it}\"")
        }
        new CredentialBinding(kind, parameters.collectEntries { [it.key.toString(), it.value.toString()] })
    }

    private Step step(String name, Map known, List given, boolean deep) {
        List rest = [] + given
        Closure body = rest && rest.last() instanceof Closure ? rest.pop() : null
        Map<String, Object> parameters = rest && rest[0] instanceof Map ? rest[0] : (rest && known.first ? [(known.first): rest[0]] : [:])
        List<String> names = (known.first ? [known.first] : []) + known.others
        parameters.keySet().findAll { !(it in names) }.each { wrong ->
            reading.fault("Invalid parameter \"${wrong}\", did you mean \"${names ? names[0] : ''}\"?")
        }
        if (known.first && (parameters[known.first] == null || parameters[known.first] == '')) {
            reading.fault("Missing required parameter: \"${known.first}\"")
            return null
        }
        if (known.block && body == null) {
            reading.fault("Expected a block with the \"${name}\" step")
            return null
        }
        if (!known.block && body != null) {
            reading.fault("${name} definitions cannot have blocks")
            return null
        }
        parameters.values().each { warnOfSecrets(name, it) }
        Step step = new Step(name: name, line: reading.line(), parameters: parameters.collectEntries { [it.key, plain(it.value)] }, body: body)
        if (body && deep) {
            Map more = additions(step)
            reading.within(more.variables, more.secrets) { step.children = steps(body, true) }
        }
        step
    }

    /** What a step's block sees beside the environment around it. */
    Map additions(Step step) {
        if (step.name == 'withEnv') {
            return [variables: step.parameters.overrides.collectEntries { String pair -> pair.split('=', 2) as List }, secrets: []]
        }
        if (step.name == 'withCredentials') {
            List<Bound> bound = step.parameters.bindings.collect { reading.credentials.bind((CredentialBinding) it) }
            return [variables: bound.collectEntries { it.variables }, secrets: bound.collectMany { it.secrets }]
        }
        [variables: [:], secrets: []]
    }

    private static Object plain(Object value) {
        value instanceof GString ? value.toString() : (value instanceof List ? value.collect { plain(it) } : value)
    }

    /** A double-quoted string that holds a secret hands it to the command line, where masking does not reach. */
    private void warnOfSecrets(String where, Object value) {
        if (value instanceof GString && value.values.any { part -> reading.secrets.any { part?.toString()?.contains(it) } }) {
            reading.warnings << [line: reading.line(), text: "A secret was passed to \"${where}\" using Groovy String interpolation, which is insecure."]
        }
    }
}
