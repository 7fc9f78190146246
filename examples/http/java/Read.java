import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * Print what the agent of this machine answers for a connection or a variable, as JSON.
 *
 * <pre>
 * java Read.java variable region
 * java Read.java connection orders_db
 * </pre>
 *
 * Needs Java 16 and nothing but the standard library, which has no JSON: read the answer with the library
 * your program has. Ends with 1 where the agent answers with an error.
 */
public final class Read {
    private record Answer(int status, String body) {}

    public static void main(String[] arguments) throws IOException {
        String agent = System.getenv().getOrDefault("STRONGROOM_SOCKET", "/run/strongroom/agent.sock");
        Path socket = Path.of(agent).resolveSibling("http.sock");
        String question =
                "{\"refs\":[{\"kind\":" + quoted(arguments[0]) + ",\"name\":" + quoted(arguments[1]) + "}]}";
        Answer answer = post(socket, "/v1/read", question);
        System.out.println(answer.body());
        System.exit(answer.status() == 200 ? 0 : 1);
    }

    /** One request on a connection of its own: the end of the connection is the end of the answer. */
    private static Answer post(Path socket, String path, String json) throws IOException {
        byte[] body = json.getBytes(StandardCharsets.UTF_8);
        String head = "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                + "Content-Type: application/json\r\nContent-Length: " + body.length + "\r\n\r\n";
        try (SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
            write(channel, head.getBytes(StandardCharsets.US_ASCII));
            write(channel, body);
            String whole = readAll(channel);
            int end = whole.indexOf("\r\n\r\n");
            return new Answer(Integer.parseInt(whole.substring(9, 12)), whole.substring(end + 4));
        }
    }

    private static void write(SocketChannel channel, byte[] bytes) throws IOException {
        ByteBuffer left = ByteBuffer.wrap(bytes);
        while (left.hasRemaining()) {
            channel.write(left);
        }
    }

    private static String readAll(SocketChannel channel) throws IOException {
        ByteArrayOutputStream found = new ByteArrayOutputStream();
        ByteBuffer part = ByteBuffer.allocate(65_536);
        while (channel.read(part) >= 0) {
            found.write(part.array(), 0, part.position());
            part.clear();
        }
        return found.toString(StandardCharsets.UTF_8);
    }

    /** A text as JSON has it, so that no character of a name means anything. */
    private static String quoted(String text) {
        StringBuilder found = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') {
                found.append('\\').append(letter);
            } else if (letter < ' ') {
                found.append(String.format("\\u%04x", (int) letter));
            } else {
                found.append(letter);
            }
        }
        return found.append('"').toString();
    }
}
