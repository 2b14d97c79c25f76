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
            case 'branch': return matches(wanted, wanted.pattern, env.BRANCH_NAME)
            case 'tag': return env.TAG_NAME && (!wanted.pattern || matches(wanted, wanted.pattern, env.TAG_NAME))
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
        env.CHANGE_ID && wanted.every { key, value -> !variables[key] || matches(wanted, value, env[variables[key]]) }
    }

    /** As the comparator says; without one by a pattern that takes capitals for small letters, as Jenkins has it. */
    private static boolean matches(Map wanted, Object pattern, String text) {
        switch (wanted.comparator ?: 'GLOB') {
            case 'EQUALS': return text == pattern.toString()
            case 'REGEXP': return text != null && text ==~ pattern.toString()
            default: return text != null && text ==~ "(?i)${regex(pattern.toString())}"
        }
    }

    /** Ant's patterns: `*` within a part, `**` across parts. */
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
