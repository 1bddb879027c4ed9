package dbbalance;

import java.util.ArrayDeque;
import java.util.LinkedHashMap;
import java.util.Map;

/** Errors and events, as JSON lines: the last ones for {@code GET /log}, all of them on standard output. */
final class Journal {
    private static final int KEPT = 10_000;

    private final ArrayDeque<String> lines = new ArrayDeque<>();
    private long seq;

    /** Writes an event with pairs of name and value. */
    synchronized void write(String event, Object... fields) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("seq", ++seq);
        line.put("ms", System.currentTimeMillis());
        line.put("event", event);
        for (int n = 0; n < fields.length; n += 2) {
            line.put((String) fields[n], fields[n + 1]);
        }
        String text = json(line);
        lines.addLast(text);
        if (lines.size() > KEPT) {
            lines.removeFirst();
        }
        System.out.println(text);
        System.out.flush();
    }

    /** Lines with a {@code seq} above this one. */
    synchronized String after(long since) {
        long skipped = Math.max(0, since - (seq - lines.size()));
        StringBuilder text = new StringBuilder();
        lines.stream().skip(skipped).forEach(line -> text.append(line).append('\n'));
        return text.toString();
    }

    /** Maps, numbers, booleans and text as JSON; no more is needed here. */
    static String json(Object value) {
        if (value instanceof Map<?, ?> map) {
            StringBuilder text = new StringBuilder("{");
            map.forEach((name, each) -> text.append(text.length() > 1 ? "," : "").append(json(name)).append(':').append(json(each)));
            return text.append('}').toString();
        }
        if (value == null || value instanceof Number || value instanceof Boolean) {
            return String.valueOf(value);
        }
        StringBuilder text = new StringBuilder("\"");
        for (char c : value.toString().toCharArray()) {
            if (c == '"' || c == '\\') {
                text.append('\\').append(c);
            } else if (c < ' ') {
                text.append(String.format("\\u%04x", (int) c));
            } else {
                text.append(c);
            }
        }
        return text.append('"').toString();
    }
}
