package CLIENT;

import EMITTER.Emitter;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.WebSocket;
import okhttp3.WebSocketListener;
import okio.ByteString;

/** As much of the library's socket as the page's programs use, on OkHttp: it does not reconnect. */
public class Socket {
    public static final String EVENT_CONNECT = "connect";
    public static final String EVENT_CONNECT_ERROR = "connect_error";
    private static final Pattern EVENT = Pattern.compile("42\\[\"(\\w+)\",(.*)\\]", Pattern.DOTALL);
    private final Map<String, Emitter.Listener> listeners = new HashMap<>();
    private final String url;
    private final IO.Options options;
    private final boolean elder = GENERATION == 3;
    private static final int GENERATION = EIO;
    private volatile WebSocket socket;
    private volatile boolean joined;

    Socket(String url, IO.Options options) {
        this.url = url;
        this.options = options;
    }

    public Socket on(String event, Emitter.Listener listener) {
        listeners.put(event, listener);
        return this;
    }

    public boolean connected() {
        return joined;
    }

    public Socket connect() {
        String address = url + "/socket.io/?transport=" + options.transports[0] + "&EIO=" + GENERATION;
        socket = new OkHttpClient().newWebSocket(new Request.Builder().url(address).build(), new WebSocketListener() {
            @Override
            public void onMessage(WebSocket from, String text) {
                hear(from, text);
            }
        });
        return this;
    }

    public Socket emit(String event, Object... values) {
        if (values[0] instanceof byte[]) {
            byte[] picture = (byte[]) values[0];
            byte[] marked = new byte[picture.length + 1];
            marked[0] = 4;
            System.arraycopy(picture, 0, marked, 1, picture.length);
            socket.send("451-[\"" + event + "\",{\"_placeholder\":true,\"num\":0}]");
            socket.send(elder ? ByteString.of(marked) : ByteString.of(picture));
        } else {
            Stream<String> words = Stream.concat(Stream.of(event), Stream.of(values).map(String::valueOf));
            socket.send("42[" + words.map(word -> "\"" + word + "\"").collect(Collectors.joining(",")) + "]");
        }
        return this;
    }

    private void hear(WebSocket from, String text) {
        Matcher event = EVENT.matcher(text);
        if (text.startsWith("0") && !elder) {
            from.send("40" + options.auth.entrySet().stream()
                .map(pair -> "\"" + pair.getKey() + "\":\"" + pair.getValue() + "\"")
                .collect(Collectors.joining(",", "{", "}")));
        } else if (text.startsWith("40")) {
            joined = true;
            tell(EVENT_CONNECT);
        } else if (text.startsWith("44")) {
            tell(EVENT_CONNECT_ERROR, text);
        } else if (text.equals("2")) {
            from.send("3");
        } else if (event.matches()) {
            String value = event.group(2);
            tell(event.group(1), value.equals("true") ? Boolean.TRUE : value);
        }
    }

    private void tell(String event, Object... values) {
        if (listeners.containsKey(event)) {
            listeners.get(event).call(values);
        }
    }
}
