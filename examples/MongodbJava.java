// SPDX-License-Identifier: Apache-2.0
// MongoDB's driver for Java (org.mongodb:mongodb-driver-sync, 5.6.0 or newer).
//
// Without a line about tokens, by what `keyfob uri atlas HOST` prints:
//   keyfob run --mongodb=atlas -- java MongodbJava 'mongodb://HOST/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s'
// With a callback, where the program cannot be started by keyfob run:
//   java MongodbJava 'mongodb://HOST/' atlas

import com.mongodb.ConnectionString;
import com.mongodb.MongoClientSettings;
import com.mongodb.MongoCredential;
import com.mongodb.client.MongoClient;
import com.mongodb.client.MongoClients;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

public class MongodbJava {
    /** Called when the driver needs a token, never once per operation. */
    private static MongoCredential.OidcCallbackResult fromKeyfob(String credential) {
        try {
            Process keyfob = new ProcessBuilder("keyfob", "get", credential).redirectError(ProcessBuilder.Redirect.INHERIT).start();
            String token = new String(keyfob.getInputStream().readAllBytes(), StandardCharsets.US_ASCII);
            if (keyfob.waitFor() != 0) {
                throw new IllegalStateException("no token of " + credential);
            }
            return new MongoCredential.OidcCallbackResult(token);
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    public static void main(String[] args) {
        MongoClientSettings.Builder settings = MongoClientSettings.builder().applyConnectionString(new ConnectionString(args[0]));
        if (args.length > 1) {
            MongoCredential.OidcCallback callback = context -> fromKeyfob(args[1]);
            settings.credential(MongoCredential.createOidcCredential(null)
                    .withMechanismProperty(MongoCredential.OIDC_CALLBACK_KEY, callback));
        }
        try (MongoClient client = MongoClients.create(settings.build())) {
            System.out.println(client.getDatabase("shop").getCollection("orders").countDocuments() + " orders");
        }
    }
}
