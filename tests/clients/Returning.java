import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.WebSocket;
import okhttp3.WebSocketListener;
import okio.ByteString;

/**
 * A camera app on OkHttp's WebSocket: java -cp okhttp.jar:okio.jar Returning.java PORT GENERATION PICTURE.
 *
 * It comes back as Java's Socket.IO client does: told of an end by onClosed and onFailure alone (onClosing is not
 * listened to there), after 1 s, 2 s, 4 s and then 5 s, halved or doubled by chance. It is deaf after a close frame, until a
 * heartbeat is missed. Prints "up" when a prediction has come over a new connection and "down" when one has ended.
 */
public class Returning extends WebSocketListener {
    private static final ScheduledExecutorService LOOP = Executors.newSingleThreadScheduledExecutor();
    private final OkHttpClient client = new OkHttpClient.Builder().readTimeout(0, TimeUnit.MILLISECONDS).build();
    private final String url;
    private final boolean elder;
    private final ByteString picture;
    private WebSocket socket;
    private boolean joined;
    private boolean up;
    private boolean mayReturn = true;
    private int attempts;

    Returning(String port, String generation, byte[] data) {
        url = "http://127.0.0.1:" + port + "/socket.io/?transport=websocket&EIO=" + generation;
        elder = generation.equals("3");
        picture = elder ? ByteString.of(with(4, data)) : ByteString.of(data);
    }

    private static byte[] with(int type, byte[] data) {
        byte[] found = new byte[data.length + 1];
        found[0] = (byte) type;
        System.arraycopy(data, 0, found, 1, data.length);
        return found;
    }

    void open() {
        socket = client.newWebSocket(new Request.Builder().url(url).build(), this);
    }

    void send() {
        if (joined) {
            socket.send("451-[\"receiveImage\",{\"_placeholder\":true,\"num\":0}]");
            socket.send(picture);
        }
    }

    void ping() {
        if (joined && elder) {
            socket.send("2");
        }
    }

    @Override
    public void onMessage(WebSocket from, String text) {
        LOOP.execute(() -> {
            if (from != socket) {
                return;
            }
            if (text.startsWith("0") && !elder) {
                socket.send("40");
            } else if (text.startsWith("40")) {
                joined = true;
                attempts = 0;
            } else if (text.startsWith("41")) {
                mayReturn = false;
            } else if (text.equals("2")) {
                socket.send("3");
            } else if (text.equals("1")) {
                end();
            } else if (text.startsWith("42[\"prediction\"") && !up) {
                up = true;
                System.out.println("up");
            }
        });
    }

    @Override
    public void onClosed(WebSocket from, int code, String reason) {
        LOOP.execute(() -> { if (from == socket) end(); });
    }

    @Override
    public void onFailure(WebSocket from, Throwable why, Response response) {
        LOOP.execute(() -> { if (from == socket) end(); });
    }

    private void end() {
        if (joined) {
            System.out.println("down");
        }
        socket = null;
        joined = false;
        up = false;
        if (mayReturn) {
            double delay = Math.min(5000, 1000 * Math.pow(2, attempts++)) * (0.5 + Math.random());
            LOOP.schedule(this::open, (long) Math.min(5000, delay), TimeUnit.MILLISECONDS);
        }
    }

    public static void main(String[] given) throws Exception {
        Returning camera = new Returning(given[0], given[1], Files.readAllBytes(Path.of(given[2])));
        LOOP.execute(camera::open);
        LOOP.scheduleAtFixedRate(camera::send, 100, 100, TimeUnit.MILLISECONDS);
        LOOP.scheduleAtFixedRate(camera::ping, 5, 5, TimeUnit.SECONDS);
    }
}
