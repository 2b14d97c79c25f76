/** What would happen: every stage and step of a file in a given environment, with nothing run. */
class Plan {
    private final Tree tree
    private final Reading reading
    final List<Map> stages = []
    final List<Map> steps = []

    Plan(Tree tree, Reading reading) {
        this.tree = tree
        this.reading = reading
    }

    Map of(Stage root) {
        walk(root, [], true, [], [])
        [stages: stages, steps: steps, agent: root.agent, environment: names(root),
         options: root.options.collect { [name: it.name, value: it.value?.toString(), parameters: it.parameters.collectEntries { k, v -> [k, v?.toString()] }] }]
    }

    private List<String> names(Stage stage) {
        tree.environment(stage.environment).keySet().toList()
    }

    private void walk(Stage stage, List<String> path, boolean runs, List<String> ids, List<String> outer) {
        Map<String, Object> declared = tree.environment(stage.environment)
        Map<String, String> plain = declared.findAll { it.value instanceof String }
        List<CredentialRef> refs = declared.values().findAll { it instanceof CredentialRef }
        List<String> names = outer + declared.keySet()
        reading.within(plain + (path ? [STAGE_NAME: stage.name] : [:]), []) {
            boolean holds = !stage.when || When.holds(tree.when(stage.when), reading)
            List<Bound> bound = declared.findAll { it.value instanceof CredentialRef }.collect { reading.credentials.bind(it.key, it.value.id) }
            List<String> inside = ids + refs*.id
            if (path) {
                stages << [path: path, line: stage.line, runs: runs && holds, kind: stage.kind ?: 'steps', credentials: inside,
                           environment: names, options: stage.options*.name]
            }
            reading.within(bound.collectEntries { it.variables }, bound.collectMany { it.secrets }) {
                body(stage, path, runs && holds, inside, names)
                stage.post.each { String condition, Closure steps -> add(tree.steps(steps, true), path, condition, runs && holds, inside, names) }
            }
        }
    }

    private void body(Stage stage, List<String> path, boolean runs, List<String> ids, List<String> names) {
        if (stage.steps) {
            add(tree.steps(stage.steps, true), path, null, runs, ids, names)
        }
        if (stage.kind == 'matrix') {
            Tree.cells(stage).each { Map<String, String> cell ->
                reading.within(cell, []) {
                    walk(stage.children[0], path + [Runner.label(cell)], runs, ids, names + cell.keySet())
                }
            }
        } else {
            stage.children.each { walk(it, path + [it.name], runs, ids, names) }
        }
    }

    private void add(List<Step> found, List<String> path, String post, boolean runs, List<String> ids, List<String> names) {
        found.each { Step step ->
            List<String> inside = ids + (step.name == 'withCredentials' ? step.parameters.bindings*.parameters*.credentialsId : [])
            steps << [stage: path, post: post, name: step.name, line: step.line, runs: runs, credentials: inside, environment: names,
                      parameters: step.parameters.collectEntries { key, value -> [key, told(value)] }]
            add(step.children, path, post, runs, inside, names)
        }
    }

    private static Object told(Object value) {
        value instanceof List ? value.collect { told(it) } : value instanceof CredentialBinding ? [kind: value.kind] + value.parameters : value
    }
}
