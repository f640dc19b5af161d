package EMITTER;

/** What a listener is in the Socket.IO library for Java. */
public class Emitter {
    public interface Listener {
        void call(Object... values);
    }
}
