package dbbalance;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.zaxxer.hikari.HikariConfig;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.Security;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import sun.misc.Signal;

/**
 * A reader and a writer pool of HikariCP under a steady load. The contract of all apps is in README.md beside the apps' folders;
 * what a real app copies is RenewableDataSource.java, and from here {@link #main}'s first line and the signal's handler.
 */
public final class App {
    private static final Journal JOURNAL = new Journal();
    private static final List<Load> LOADS = new ArrayList<>();
    private static final AtomicLong RECYCLES = new AtomicLong();
    private static final ScheduledExecutorService LATER = Executors.newSingleThreadScheduledExecutor(work -> {
        Thread thread = new Thread(work, "later");
        thread.setDaemon(true);
        return thread;
    });
    private static volatile boolean ready;

    private App() {}

    static String setting(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    public static void main(String[] arguments) throws Exception {
        // Before the first look-up, as the JVM reads it once. Its default is 30 s.
        String ttl = setting("JVM_DNS_TTL", "default");
        if (!ttl.equals("default")) {
            Security.setProperty("networkaddress.cache.ttl", ttl);
            Security.setProperty("networkaddress.cache.negative.ttl", "0");
        }
        if (System.getenv("WARM_UP") != null) {
            WarmUp.run();
        }
        Map<String, Object> versions = new LinkedHashMap<>();
        versions.put("hikaricp", WarmUp.version("HikariCP"));
        versions.put("pgjdbc", org.postgresql.util.DriverInfo.DRIVER_VERSION);
        versions.put("java", Runtime.version().toString());
        JOURNAL.write("start", "app", "hikaricp", "versions", versions, "dns_ttl", ttl);

        // The JVM catches HUP by itself, to end the app. With a handler of our own it does not end.
        Signal.handle(new Signal("HUP"), signal -> LATER.execute(() -> renew("HUP")));
        serve();
        if (setting("READER_POOL", "on").equals("on")) {
            LOADS.add(load("reader", "DB_READER_HOST", "POOL_SIZE", "10", "READ_RATE",
                "SELECT host(inet_server_addr()) WHERE ? <> ''", "1"));
        }
        if (setting("WRITER_POOL", "on").equals("on")) {
            LOADS.add(load("writer", "DB_WRITER_HOST", "WRITER_POOL_SIZE", "5", "WRITE_RATE",
                "INSERT INTO writes (pod) VALUES (?) RETURNING host(inet_server_addr())", host()));
        }
        for (Load load : LOADS) {
            load.open();
            if (load.name.equals("writer")) {
                makeTable(load.pool);
            }
        }
        ready = true;
        LOADS.forEach(Load::start);
    }

    private static String host() throws IOException {
        return setting("HOSTNAME", InetAddress.getLoopbackAddress().getHostName());
    }

    private static Load load(String name, String host, String size, String sizeOtherwise, String rate, String sql, String bind)
            throws IOException {
        HikariConfig config = new HikariConfig();
        config.setPoolName(name);
        config.setJdbcUrl("jdbc:postgresql://" + setting(host, "localhost") + ":" + setting("DB_PORT", "5432") + "/"
            + setting("DB_NAME", "app"));
        config.setUsername(setting("DB_USER", "app"));
        config.setPassword(System.getenv("DB_PASSWORD"));
        Properties driver = new Properties();
        String title = host() + "/" + name;
        driver.setProperty("ApplicationName", title.substring(0, Math.min(63, title.length())));
        String timeout = setting("SOCKET_TIMEOUT", "");
        if (!timeout.isEmpty()) { // without it, what the driver and the kernel do by themselves
            driver.setProperty("socketTimeout", timeout);
            driver.setProperty("connectTimeout", timeout);
            driver.setProperty("tcpKeepAlive", "true");
        }
        config.setDataSourceProperties(driver);
        config.setMaximumPoolSize(Integer.parseInt(setting(size, sizeOtherwise)));
        config.setInitializationFailTimeout(-1); // start also while the database is away
        return new Load(name, new RenewableDataSource(config), Double.parseDouble(setting(rate, "10")), JOURNAL, sql, bind);
    }

    /** The table of the writes. Many pods may try at once, and all but one of them fail. */
    private static void makeTable(RenewableDataSource pool) throws InterruptedException {
        while (true) {
            try (Connection connection = pool.getConnection(); Statement statement = connection.createStatement()) {
                try {
                    statement.execute("CREATE TABLE IF NOT EXISTS writes (pod text, at timestamptz DEFAULT now())");
                    return;
                } catch (SQLException e) {
                    try (var rows = statement.executeQuery("SELECT 1 WHERE to_regclass('writes') IS NOT NULL")) {
                        if (rows.next()) {
                            return;
                        }
                    }
                    throw e;
                }
            } catch (SQLException e) {
                JOURNAL.write("error", "pool", "writer", "kind", Load.kind(e), "text", e.getMessage());
                Thread.sleep(500);
            }
        }
    }

    private static void renew(String why) {
        JOURNAL.write("recycle", "why", why, "number", RECYCLES.incrementAndGet());
        double grace = Double.parseDouble(setting("RENEW_GRACE", "0"));
        for (Load load : LOADS) {
            try {
                List<Connection> inUse = load.pool.renew();
                if (grace > 0) {
                    LATER.schedule(() -> abandon(inUse), (long) (grace * 1000), TimeUnit.MILLISECONDS);
                }
            } catch (SQLException e) {
                JOURNAL.write("error", "pool", load.name, "kind", Load.kind(e), "text", e.getMessage());
            }
        }
    }

    private static void abandon(List<Connection> inUse) {
        try {
            RenewableDataSource.abandon(inUse);
        } catch (SQLException e) {
            JOURNAL.write("error", "kind", Load.kind(e), "text", e.getMessage());
        }
    }

    private static void serve() throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
        server.setExecutor(Executors.newFixedThreadPool(2));
        server.createContext("/healthz", call -> answer(call, ready ? 200 : 503, ready ? "ok\n" : "not connected yet\n"));
        server.createContext("/pool/recycle", call -> {
            if (call.getRequestMethod().equals("POST")) {
                renew("HTTP");
                answer(call, 200, "begun\n");
            } else {
                answer(call, 405, "POST\n");
            }
        });
        server.createContext("/stats", call -> {
            Map<String, Object> pools = new LinkedHashMap<>();
            LOADS.forEach(load -> pools.put(load.name, load.told()));
            Map<String, Object> told = new LinkedHashMap<>();
            told.put("app", "hikaricp");
            told.put("ready", ready);
            told.put("recycles", RECYCLES.get());
            told.put("pools", pools);
            answer(call, 200, Journal.json(told));
        });
        server.createContext("/log", call -> {
            String query = call.getRequestURI().getQuery();
            long since = query != null && query.matches("since=\\d{1,18}") ? Long.parseLong(query.substring(6)) : 0;
            answer(call, 200, JOURNAL.after(since));
        });
        server.start();
    }

    private static void answer(HttpExchange call, int status, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        call.sendResponseHeaders(status, bytes.length == 0 ? -1 : bytes.length);
        try (call) {
            call.getResponseBody().write(bytes);
        }
    }
}
