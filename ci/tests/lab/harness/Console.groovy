/** Where a run's output goes, as Jenkins' console has it: time stamps on demand, secrets as ****. */
class Console {
    private final PrintStream out
    boolean timestamps
    Collection<String> secrets = []

    Console(PrintStream out) {
        this.out = out
    }

    synchronized void line(String text) {
        String stamp = timestamps ? '[' + java.time.Instant.now().truncatedTo(java.time.temporal.ChronoUnit.MILLIS) + '] ' : ''
        out.println(stamp + masked(text))
        out.flush()
    }

    String masked(String text) {
        secrets.findAll { it }.sort { -it.length() }.inject(text) { String seen, String secret -> seen.replace(secret, '****') }
    }
}
