package dbbalance;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.LinkedHashMap;
import java.util.Map;

/** A pool, its load, and what came of it. */
final class Load {
    /** Pause before another try after a failure, ms; short, so that the rate is nearly kept. */
    private static final double PAUSE = 100;

    /** {@code reader} or {@code writer}. */
    final String name;

    final RenewableDataSource pool;
    private final Counters counters = new Counters();
    private final Journal journal;
    private final String sql;
    private final String bind;
    private final int size;
    private final double rate;

    /** @param rate queries a second, over all connections */
    Load(String name, RenewableDataSource pool, double rate, Journal journal, String sql, String bind) {
        this.name = name;
        this.pool = pool;
        this.size = pool.getMaximumPoolSize();
        this.rate = rate;
        this.journal = journal;
        this.sql = sql;
        this.bind = bind;
    }

    /** Waits until the pool has opened all its connections, which it does by itself. */
    void open() throws InterruptedException {
        while (true) {
            try (Connection ignored = pool.getConnection()) {
                break;
            } catch (SQLException e) {
                journal.write("error", "pool", name, "kind", kind(e), "text", e.getMessage());
            }
        }
        while (connections() < size) {
            Thread.sleep(20);
        }
        journal.write("open", "pool", name, "connections", connections());
    }

    /**
     * As many threads as connections. A thread is a request after the other: it takes a connection, makes a query, and keeps the
     * connection for the rest of its interval, as a busy app does. So all connections are used.
     */
    void start() {
        if (rate <= 0) {
            return;
        }
        double interval = 1000 * size / rate;
        double began = Counters.milliseconds();
        for (int n = 0; n < size; n++) {
            double first = began + interval * n / size;
            Thread thread = new Thread(() -> {
                try {
                    pauseUntil(first);
                    for (double due = first; ; ) {
                        due = request(due, interval);
                    }
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }, name + "-" + n);
            thread.setDaemon(true);
            thread.start();
        }
    }

    /** Gives the time at which the next one is due. */
    private double request(double due, double interval) throws InterruptedException {
        double began = Counters.milliseconds();
        counters.began(began);
        // pgjdbc keeps a prepared statement of its own once the same query has come five times on a connection.
        try (Connection connection = pool.getConnection()) {
            String server;
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                statement.setString(1, bind);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    server = rows.getString(1);
                }
            }
            counters.answered(Counters.milliseconds() - began, server);
            double next = Math.max(due + interval, Counters.milliseconds());
            pauseUntil(next);
            return next;
        } catch (SQLException e) {
            double took = Counters.milliseconds() - began;
            counters.failed(took, kind(e));
            journal.write("error", "pool", name, "kind", kind(e), "text", e.getMessage(), "took_ms", Math.round(took));
            double next = Counters.milliseconds() + PAUSE;
            pauseUntil(next);
            return next;
        }
    }

    private static void pauseUntil(double due) throws InterruptedException {
        double rest = due - Counters.milliseconds();
        if (rest > 0) {
            Thread.sleep((long) rest, (int) (rest % 1 * 999_999));
        }
    }

    /** The SQL state, in a word for the one that tells of a demoted writer; without one the exception's class. */
    static String kind(SQLException e) {
        if ("25006".equals(e.getSQLState())) {
            return "read_only";
        }
        return e.getSQLState() == null ? e.getClass().getName() : e.getSQLState();
    }

    private int connections() {
        return pool.getHikariPoolMXBean().getTotalConnections();
    }

    Map<String, Object> told() {
        var now = pool.getHikariPoolMXBean();
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("size", size);
        told.put("connections", now.getTotalConnections());
        told.put("busy", now.getActiveConnections());
        told.put("idle", now.getIdleConnections());
        told.put("waiting", now.getThreadsAwaitingConnection());
        told.putAll(counters.told());
        return told;
    }
}
