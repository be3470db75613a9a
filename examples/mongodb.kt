// SPDX-License-Identifier: Apache-2.0
// MongoDB's driver for Kotlin (org.mongodb:mongodb-driver-kotlin-sync, 5.6.0 or newer), by what `keyfob uri atlas HOST` prints:
//   keyfob run --mongodb=atlas -- java -jar orders.jar 'mongodb://HOST/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s'
// A callback is that of MongodbJava.java: the driver's core is the same.

import com.mongodb.kotlin.client.MongoClient
import org.bson.Document

fun main(args: Array<String>) {
    MongoClient.create(args[0]).use { client ->
        val orders = client.getDatabase("shop").getCollection<Document>("orders")
        println("${orders.find().toList().size} orders")
    }
}
