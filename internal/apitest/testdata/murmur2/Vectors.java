// Prints vectors.txt: where Java's producer sends a key. With kafka-clients and slf4j-api in $jars:
//
//   java -cp "$jars/*" Vectors.java > vectors.txt
//
// Each line has the key in hex, its murmur2, and its partition of as many as the first line says.

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.utils.AppInfoParser;
import org.apache.kafka.common.utils.Utils;

public class Vectors {
    static final int[] PARTITIONS = {1, 2, 3, 4, 7, 12, 50, 1000, Integer.MAX_VALUE};

    public static void main(String[] args) {
        StringBuilder first = new StringBuilder("kafka-clients " + AppInfoParser.getVersion() + "; key murmur2");
        for (int n : PARTITIONS) {
            first.append(" of-").append(n);
        }
        System.out.println(first);
        for (byte[] key : keys()) {
            StringBuilder line = new StringBuilder("0x");
            for (byte b : key) {
                line.append(String.format("%02x", b));
            }
            line.append(' ').append(Utils.murmur2(key));
            for (int n : PARTITIONS) {
                line.append(' ').append(BuiltInPartitioner.partitionForKey(key, n));
            }
            System.out.println(line);
        }
    }

    static List<byte[]> keys() {
        List<byte[]> keys = new ArrayList<>();
        Random random = new Random(16);
        for (int length = 0; length <= 20; length++) { // each length: any bytes, high bytes, zeros, ASCII
            byte[] any = new byte[length], high = new byte[length], ascii = new byte[length];
            random.nextBytes(any);
            for (int i = 0; i < length; i++) {
                high[i] = (byte) (0x80 + random.nextInt(0x80));
                ascii[i] = (byte) (' ' + random.nextInt('~' - ' ' + 1));
            }
            keys.add(any);
            keys.add(high);
            keys.add(new byte[length]);
            keys.add(ascii);
        }
        for (String text : List.of("user-7", "key-0", "key-1", "Müller", "größe", "ключ", "鍵", "🔑", "e\u0301", "\u0000")) {
            keys.add(text.getBytes(StandardCharsets.UTF_8));
        }
        for (int length : new int[] {63, 64, 65, 100, 255, 256, 1023}) {
            byte[] any = new byte[length];
            random.nextBytes(any);
            keys.add(any);
        }
        return keys;
    }
}
