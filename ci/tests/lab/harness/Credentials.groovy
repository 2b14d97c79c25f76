import groovy.transform.CompileStatic

/** A reference by id, as `credentials('id')` in an environment makes it. */
@CompileStatic
class CredentialRef {
    final String id

    CredentialRef(String id) {
        this.id = id
    }
}

/** One binding of `withCredentials`: a kind, an id, and the variables that get its parts. */
@CompileStatic
class CredentialBinding {
    final String kind
    final Map<String, String> parameters

    CredentialBinding(String kind, Map<String, String> parameters) {
        this.kind = kind
        this.parameters = parameters
    }
}

class MissingCredential extends RuntimeException {
    MissingCredential(String text) {
        super(text)
    }
}

/** What bound credentials put into the environment, and which of it is secret. */
@CompileStatic
class Bound {
    final Map<String, String> variables = new LinkedHashMap<String, String>()
    final List<String> secrets = []
}

/**
 * The credentials store.
 *
 * In plan mode it invents values, so that nothing secret is needed to read a file; ids that are not
 * in the store are then taken to be there.
 */
@CompileStatic
class Credentials {
    private final Map<String, Map<String, String>> store
    private final boolean invented
    private final File folder
    final Set<String> used = new LinkedHashSet<String>()

    Credentials(Map<String, Map<String, String>> store, boolean invented, File folder) {
        this.store = store
        this.invented = invented
        this.folder = folder
    }

    /** `NAME = credentials('id')`: NAME, and NAME_USR and NAME_PSW where there are two parts. */
    Bound bind(String name, String id) {
        Map<String, String> found = find(id, null)
        Bound bound = new Bound()
        switch (found.kind) {
            case 'usernamePassword':
                bound.variables[name] = found.username + ':' + found.password
                bound.variables[name + '_USR'] = found.username
                bound.variables[name + '_PSW'] = found.password
                bound.secrets.addAll([bound.variables[name], found.password])
                break
            case 'sshUserPrivateKey':
                bound.variables[name] = asFile(id, found.content)
                bound.variables[name + '_USR'] = found.username ?: ''
                bound.variables[name + '_PSW'] = found.passphrase ?: ''
                bound.secrets.addAll([bound.variables[name], bound.variables[name + '_PSW']])
                break
            case 'file':
                bound.variables[name] = asFile(id, found.content)
                bound.secrets << bound.variables[name]
                break
            default:
                bound.variables[name] = found.secret
                bound.secrets << found.secret
        }
        bound
    }

    /** One binding of `withCredentials`. */
    Bound bind(CredentialBinding binding) {
        Map<String, String> found = find(binding.parameters.credentialsId, binding.kind)
        Map<String, String> parts = [
            variable          : binding.kind == 'file' ? asFile(binding.parameters.credentialsId, found.content) : found.secret,
            usernameVariable  : found.username,
            passwordVariable  : found.password,
            keyFileVariable   : binding.kind == 'sshUserPrivateKey' ? asFile(binding.parameters.credentialsId, found.content) : null,
            passphraseVariable: found.passphrase,
        ]
        Bound bound = new Bound()
        parts.each { String parameter, String value ->
            if (binding.parameters[parameter]) {
                bound.variables[binding.parameters[parameter]] = value ?: ''
                if (parameter != 'usernameVariable') {
                    bound.secrets << (value ?: '')
                }
            }
        }
        bound
    }

    /** The names that `NAME = credentials(…)` will set, for strings that are read before it is bound. */
    Map<String, String> peek(String name) {
        [(name): '', (name + '_USR'): '', (name + '_PSW'): '']
    }

    private Map<String, String> find(String id, String kind) {
        used << id
        Map<String, String> found = store[id]
        if (found == null && !invented) {
            throw new MissingCredential("Could not find credentials entry with ID '${id}'")
        }
        if (found != null && kind != null && found.kind != kind) {
            throw new MissingCredential("Credentials '${id}' is of type '${found.kind}' where '${kind}' was expected")
        }
        if (!invented) {
            return found
        }
        String secret = "<secret of ${id}>".toString()
        [kind    : kind ?: found?.kind ?: 'usernamePassword', username: "<user of ${id}>".toString(), password: secret, secret: secret,
         content : secret, passphrase: secret]
    }

    private String asFile(String id, String content) {
        if (invented) {
            return "<file of ${id}>".toString()
        }
        folder.mkdirs()
        File file = new File(folder, id.replaceAll('[^A-Za-z0-9_.-]', '_'))
        java.nio.file.Path path = file.toPath()
        java.nio.file.Files.deleteIfExists(path)
        java.nio.file.Files.createFile(path, java.nio.file.attribute.PosixFilePermissions.asFileAttribute(
            java.nio.file.attribute.PosixFilePermissions.fromString('rw-------')))
        file.setText(content ?: '', 'UTF-8')
        java.nio.file.Files.setPosixFilePermissions(path, java.nio.file.attribute.PosixFilePermissions.fromString('r--------'))
        path.toString()
    }
}
