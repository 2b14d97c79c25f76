/** Whether the conditions of a `when {}` hold in an environment. */
class When {
    /** Not conditions: what the stage enters only once they hold. */
    static final List<String> MOMENTS = ['beforeAgent', 'beforeInput', 'beforeOptions']

    static boolean holds(List<Map> conditions, Reading reading) {
        conditions.every { it.name in MOMENTS || one(it, reading) }
    }

    static boolean isBeforeOptions(List<Map> conditions) {
        conditions.any { it.name == 'beforeOptions' && it.value }
    }

    private static boolean one(Map condition, Reading reading) {
        Map env = reading.scope
        Map wanted = condition.parameters ?: [:]
        switch (condition.name) {
            case 'not': return !one(condition.children[0], reading)
            case 'allOf': return holds(condition.children, reading)
            case 'anyOf': return condition.children.any { one(it, reading) }
            case 'branch': return glob(wanted.pattern.toString(), env.BRANCH_NAME)
            case 'tag': return env.TAG_NAME && (!wanted.pattern || glob(wanted.pattern.toString(), env.TAG_NAME))
            case 'buildingTag': return env.TAG_NAME as boolean
            case 'changeRequest': return changeRequest(wanted, env)
            case 'environment': return env[wanted.name] == wanted.value?.toString()
            case 'expression': return reading.evaluate(condition.body, new Block(reading, [:], { String name, List given ->
                throw new IllegalStateException("an expression may not call ${name}()")
            })) as boolean
            default: return false  // unknown, and a fault by now
        }
    }

    private static boolean changeRequest(Map wanted, Map env) {
        Map variables = [id: 'CHANGE_ID', target: 'CHANGE_TARGET', branch: 'CHANGE_BRANCH', fork: 'CHANGE_FORK', author: 'CHANGE_AUTHOR']
        env.CHANGE_ID && wanted.every { key, value -> !variables[key] || glob(value.toString(), env[variables[key]]) }
    }

    /** Ant's patterns: `*` within a part, `**` across parts. */
    static boolean glob(String pattern, String text) {
        text != null && text ==~ regex(pattern)
    }

    static String regex(String pattern) {
        StringBuilder made = new StringBuilder()
        for (int i = 0; i < pattern.length(); i++) {
            if (pattern.startsWith('**/', i)) {
                made << '(?:.*/)?'
                i += 2
            } else if (pattern.startsWith('**', i)) {
                made << '.*'
                i += 1
            } else {
                String at = pattern[i]
                made << (at == '*' ? '[^/]*' : at == '?' ? '[^/]' : java.util.regex.Pattern.quote(at))
            }
        }
        made.toString()
    }
}
