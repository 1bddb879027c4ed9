package dbbalance;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;

/** What one pool's queries came to. Shapes: see README.md of the apps. */
final class Counters {
    /** A query is slow above this, ms. */
    private static final double SLOW = 1000;
    /** Latency classes: each a tenth above the last, from 0.05 ms on, so a percentile is at most 10 % too high. */
    private static final double FIRST = 0.05;
    private static final double STEP = 1.1;

    private final long[] classes = new long[152];
    private final Map<String, Long> kinds = new TreeMap<>();
    private final Map<String, Long> servers = new TreeMap<>();
    private final Map<Thread, Double> running = new HashMap<>();
    private long ok;
    private long failed;
    private long slow;
    private double max;

    static double milliseconds() {
        return System.nanoTime() / 1e6;
    }

    synchronized void began(double at) {
        running.put(Thread.currentThread(), at);
    }

    synchronized void answered(double took, String server) {
        ok++;
        servers.merge(server, 1L, Long::sum);
        ended(took);
    }

    synchronized void failed(double took, String kind) {
        failed++;
        kinds.merge(kind, 1L, Long::sum);
        ended(took);
    }

    private void ended(double took) {
        running.remove(Thread.currentThread());
        if (took > SLOW) {
            slow++;
        }
        max = Math.max(max, took);
        int n = took <= FIRST ? 0 : (int) Math.ceil(Math.log(took / FIRST) / Math.log(STEP));
        classes[Math.min(n, classes.length - 1)]++;
    }

    synchronized Map<String, Object> told() {
        double now = milliseconds();
        Map<String, Object> latency = new LinkedHashMap<>();
        latency.put("max", rounded(max));
        latency.put("p50", percentile(0.5));
        latency.put("p99", percentile(0.99));
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("ok", ok);
        told.put("failed", failed);
        told.put("failed_by", new TreeMap<>(kinds));
        told.put("slow", slow);
        told.put("stuck", running.values().stream().filter(since -> now - since > SLOW).count());
        told.put("latency_ms", latency);
        told.put("servers", new TreeMap<>(servers));
        return told;
    }

    private double percentile(double share) {
        double wanted = (ok + failed) * share;
        long sum = 0;
        for (int n = 0; n < classes.length; n++) {
            sum += classes[n];
            if (sum > 0 && sum >= wanted) {
                return rounded(Math.min(FIRST * Math.pow(STEP, n), max));
            }
        }
        return 0;
    }

    private static double rounded(double value) {
        return Math.round(value * 100) / 100.0;
    }
}
