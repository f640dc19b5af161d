package CLIENT;

import java.net.URI;
import java.net.URISyntaxException;
import java.util.Map;

/** As much of the library's entrance as the page's programs use. */
public class IO {
    public static class Options {
        public String[] transports;
        Map<String, String> auth = Map.of();

        public static Builder builder() {
            return new Builder();
        }

        public static class Builder {
            private final Options options = new Options();

            public Builder setTransports(String[] transports) {
                options.transports = transports;
                return this;
            }

            public Builder setAuth(Map<String, String> auth) {
                options.auth = auth;
                return this;
            }

            public Options build() {
                return options;
            }
        }
    }

    public static Socket socket(URI uri, Options options) {
        return new Socket(uri.toString(), options);
    }

    public static Socket socket(String uri, Options options) throws URISyntaxException {
        return socket(new URI(uri), options);
    }
}
