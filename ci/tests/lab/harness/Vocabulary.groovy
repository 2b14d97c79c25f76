/**
 * The names that a declarative Jenkinsfile may use, as far as this harness knows them.
 *
 * Source: the "Pipeline Syntax" chapter of the Jenkins handbook and the step references of the plugins
 * that docs/jenkins.md names. Written by hand: what stands here is what we use or could want; a name
 * that Jenkins knows and this list does not is refused here, and has to be added with its meaning.
 */
class Vocabulary {
    static final List<String> PIPELINE_SECTIONS =
        ['agent', 'environment', 'options', 'parameters', 'post', 'stages', 'tools', 'triggers']
    static final List<String> STAGE_SECTIONS =
        ['agent', 'environment', 'failFast', 'input', 'matrix', 'options', 'parallel', 'post', 'stages', 'steps', 'tools', 'when']
    static final List<String> MATRIX_SECTIONS =
        ['agent', 'axes', 'environment', 'excludes', 'options', 'post', 'stages', 'when']
    static final List<String> AGENT_TYPES = ['any', 'docker', 'dockerfile', 'label', 'node', 'none']
    /** In the order in which Jenkins runs them. */
    static final List<String> POST_CONDITIONS =
        ['always', 'changed', 'fixed', 'regression', 'aborted', 'failure', 'success', 'unstable', 'unsuccessful', 'cleanup']
    static final List<String> WHEN_CONDITIONS =
        ['allOf', 'anyOf', 'branch', 'buildingTag', 'changeRequest', 'environment', 'expression', 'not', 'tag']
    static final List<String> PIPELINE_OPTIONS =
        ['buildDiscarder', 'checkoutToSubdirectory', 'disableConcurrentBuilds', 'disableRestartFromStage', 'disableResume',
         'durabilityHint', 'lock', 'overrideIndexTriggers', 'parallelsAlwaysFailFast', 'preserveStashes', 'quietPeriod',
         'rateLimitBuilds', 'retry', 'skipDefaultCheckout', 'skipStagesAfterUnstable', 'timeout', 'timestamps']
    static final List<String> STAGE_OPTIONS = ['lock', 'retry', 'skipDefaultCheckout', 'timeout', 'timestamps']
    /** Symbols that stand for a value inside an option. */
    static final List<String> OPTION_VALUES = ['logRotator']
    static final List<String> PARAMETER_TYPES = ['booleanParam', 'choice', 'password', 'string', 'text']
    static final List<String> TRIGGER_TYPES = ['cron', 'pollSCM', 'upstream']

    /** Steps this harness runs: the parameter that needs no name, the others, whether a block follows. */
    static final Map<String, Map> STEPS = [
        archiveArtifacts: [first: 'artifacts', others: ['allowEmptyArchive', 'excludes', 'fingerprint', 'onlyIfSuccessful']],
        catchError      : [others: ['buildResult', 'stageResult', 'message', 'catchInterruptions'], block: true],
        checkout        : [first: 'scm', others: []],
        cleanWs         : [others: ['deleteDirs', 'notFailBuild', 'patterns']],
        deleteDir       : [others: []],
        dir             : [first: 'path', others: [], block: true],
        echo            : [first: 'message', others: []],
        error           : [first: 'message', others: []],
        junit           : [first: 'testResults', others: ['allowEmptyResults', 'keepLongStdio', 'skipMarkingBuildUnstable']],
        lock            : [first: 'resource', others: ['inversePrecedence'], block: true],
        retry           : [first: 'count', others: [], block: true],
        sh              : [first: 'script', others: ['label', 'encoding']],
        stash           : [first: 'name', others: ['includes', 'allowEmpty']],
        timeout         : [first: 'time', others: ['unit'], block: true],
        unstable        : [first: 'message', others: []],
        unstash         : [first: 'name', others: []],
        withCredentials : [first: 'bindings', others: [], block: true],
        withEnv         : [first: 'overrides', others: [], block: true],
    ]
    /** Steps that a controller knows and this harness cannot run; a file that needs them is refused, not passed. */
    static final List<String> NOT_COVERED =
        ['bat', 'build', 'emailext', 'fileExists', 'git', 'input', 'mail', 'milestone', 'node', 'powershell', 'properties',
         'pwd', 'readFile', 'script', 'sleep', 'tool', 'waitUntil', 'warnError', 'writeFile']
    /** Kinds of credentials, each with the parameters of its binding that name a variable. */
    static final Map<String, List<String>> BINDINGS = [
        file             : ['variable'],
        sshUserPrivateKey: ['keyFileVariable', 'usernameVariable', 'passphraseVariable'],
        string           : ['variable'],
        usernamePassword : ['usernameVariable', 'passwordVariable'],
    ]
}
