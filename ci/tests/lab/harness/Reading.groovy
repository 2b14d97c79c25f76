import groovy.transform.CompileStatic

/** What is known and what was found while a file is read: the scope of names, faults, warnings. */
@CompileStatic
class Reading {
    static final String FILE = 'WorkflowScript'  // the name Jenkins gives the file in its messages

    final List<Map> faults = []
    final List<Map> warnings = []
    final Credentials credentials
    /** The environment that names are looked up in; a plain map, innermost values. */
    Map<String, String> scope = [:]
    /** Values that must not be seen, as bound where we read. */
    Set<String> secrets = new LinkedHashSet<String>()

    Reading(Credentials credentials) {
        this.credentials = credentials
    }

    int line() {
        for (StackTraceElement frame : new Throwable().stackTrace) {
            if (frame.fileName == FILE) {
                return frame.lineNumber
            }
        }
        1
    }

    void fault(String text, int at = line()) {
        faults << ([line: at, text: text] as Map)
    }

    /** The value of a bare name, or of `${name}`. */
    Object variable(String name) {
        if (name == 'env') {
            return new Names(this, '')
        }
        if (name == 'params') {
            return new Names(this, '')
        }
        if (name == 'scm') {
            return 'scm'
        }
        if (scope.containsKey(name)) {
            return scope[name]
        }
        fault("groovy.lang.MissingPropertyException: No such property: ${name} for class: ${FILE}")
        ''
    }

    /** Do `work` where `more` is set too and `hidden` must not be seen. */
    Object within(Map<String, String> more, Collection<String> hidden, Closure work) {
        Map<String, String> before = scope
        Set<String> secretsBefore = secrets
        scope = [:] + before + more
        secrets = new LinkedHashSet<String>(secretsBefore)
        secrets.addAll(hidden.findAll { it })
        try {
            return work.call()
        } finally {
            scope = before
            secrets = secretsBefore
        }
    }

    /** `body` evaluated with every name in it looked up in `block` and nowhere else. */
    Object evaluate(Closure body, Block block) {
        Closure own = (Closure) body.clone()
        own.delegate = block
        own.resolveStrategy = Closure.DELEGATE_ONLY
        own.call()
    }
}

/** `env.NAME` and `params.NAME`; null when not set. */
@CompileStatic
class Names extends GroovyObjectSupport {
    private final Reading reading
    private final String absent

    Names(Reading reading, String absent) {
        this.reading = reading
        this.absent = absent
    }

    Object getProperty(String name) {
        reading.scope.containsKey(name) ? reading.scope[name] : absent
    }
}

/** One `{…}`: the calls it allows, by name; what becomes of others and of assignments. */
class Block extends GroovyObjectSupport {
    private final Reading reading
    private final Map<String, Closure> allowed
    private final Closure otherwise
    private final Closure assigned

    Block(Reading reading, Map<String, Closure> allowed, Closure otherwise, Closure assigned = null) {
        this.reading = reading
        this.allowed = allowed
        this.otherwise = otherwise
        this.assigned = assigned
    }

    Object invokeMethod(String name, Object args) {
        List given = args == null ? [] : (args instanceof Object[] ? ((Object[]) args).toList() : [args])
        Closure handler = allowed[name]
        handler == null ? otherwise.call(name, given) : handler.call(given)
    }

    Object getProperty(String name) {
        Closure bare = allowed['$' + name]
        bare == null ? reading.variable(name) : bare.call()
    }

    void setProperty(String name, Object value) {
        if (assigned == null) {
            reading.fault("\"${name} = …\" is only allowed in \"environment\"")
        } else {
            assigned.call(name, value)
        }
    }
}
