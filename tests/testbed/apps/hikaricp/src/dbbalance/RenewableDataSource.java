package dbbalance;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.WeakHashMap;

/**
 * A HikariCP pool that can be renewed without failing a query. Copy this class, or, if sockets have a {@code socketTimeout}, the
 * one line of {@link #renew()} alone.
 *
 * <p>Not by {@code close()} and a new pool: closing aborts the connections that are in use.
 */
final class RenewableDataSource extends HikariDataSource {
    /** What is lent out. A returned connection says that it is closed, and one that is forgotten goes by itself. */
    private final Set<Connection> lent = Collections.newSetFromMap(new WeakHashMap<>());

    RenewableDataSource(HikariConfig config) {
        super(config);
    }

    @Override
    public Connection getConnection() throws SQLException {
        Connection connection = super.getConnection();
        synchronized (lent) {
            lent.add(connection);
        }
        return connection;
    }

    /**
     * Closes every connection that the pool has now: an idle one at once, one in use when it is returned. The pool opens new
     * ones by itself, up to {@code minimumIdle}; each looks the name up, as far as the JVM's own cache lets it.
     *
     * @return what is in use, for {@link #abandon}
     */
    List<Connection> renew() throws SQLException {
        List<Connection> inUse = new ArrayList<>();
        synchronized (lent) {
            for (Connection connection : lent) {
                if (!connection.isClosed()) {
                    inUse.add(connection);
                }
            }
        }
        getHikariPoolMXBean().softEvictConnections();
        return inUse;
    }

    /**
     * Ends the queries that still wait on one of these connections, because its server is gone without a word: they fail, and
     * their threads go on. For use a good while after {@link #renew()}, longer than the longest transaction.
     */
    static void abandon(List<Connection> inUse) throws SQLException {
        for (Connection connection : inUse) {
            if (!connection.isClosed()) {
                connection.abort(Runnable::run);
            }
        }
    }
}
