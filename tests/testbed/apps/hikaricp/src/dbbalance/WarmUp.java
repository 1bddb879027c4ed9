package dbbalance;

import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.List;
import java.util.Map;
import java.util.zip.ZipFile;

/** Loads the classes that the image's class data archive is to hold, then ends: twenty pods start on two cores. */
final class WarmUp {
    private WarmUp() {}

    static void run() throws Exception {
        for (String path : System.getProperty("java.class.path").split(":")) {
            try (ZipFile jar = new ZipFile(path)) {
                List<String> names = jar.stream().map(entry -> entry.getName()).filter(name -> name.endsWith(".class")
                    && !name.startsWith("META-INF") && !name.equals("module-info.class")).sorted().toList();
                for (String name : names) {
                    try {
                        Class.forName(name.substring(0, name.length() - 6).replace('/', '.'), false, WarmUp.class.getClassLoader());
                    } catch (LinkageError | ClassNotFoundException e) {
                        // For an optional library that is not here.
                    }
                }
            }
        }
        // What the JDK has for a server and a connection; nothing listens on port 1.
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", call -> { });
        server.stop(0);
        try {
            DriverManager.getConnection("jdbc:postgresql://127.0.0.1:1/none", "none", "none").close();
        } catch (SQLException e) {
            Journal.json(Map.of("expected", e.getMessage()));
        }
        System.exit(0);
    }

    /** Of the jar on the class path with this name: `lib/NAME-7.1.0.jar`. */
    static String version(String name) {
        for (String path : System.getProperty("java.class.path").split(":")) {
            String file = path.substring(path.lastIndexOf('/') + 1);
            if (file.startsWith(name + "-")) {
                return file.substring(name.length() + 1, file.length() - ".jar".length());
            }
        }
        return "unknown";
    }
}
