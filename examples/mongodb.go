// SPDX-License-Identifier: Apache-2.0

// MongoDB's driver for Go (go.mongodb.org/mongo-driver/v2, 2.2.0 or newer).
//
// Without a line about tokens, by what `keyfob uri atlas HOST` prints:
//
//	keyfob run --mongodb=atlas -- ./orders 'mongodb://HOST/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s'
//
// With a callback, where the program cannot be started by keyfob run:
//
//	./orders 'mongodb://HOST/' atlas
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// fromKeyfob is called when the driver needs a token, never once per operation.
func fromKeyfob(credential string) options.OIDCCallback {
	return func(ctx context.Context, _ *options.OIDCArgs) (*options.OIDCCredential, error) {
		token, err := exec.CommandContext(ctx, "keyfob", "get", credential).Output()
		if err != nil {
			return nil, err
		}
		return &options.OIDCCredential{AccessToken: string(token)}, nil
	}
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: orders URI [CREDENTIAL]")
	}
	ctx := context.Background()
	client := options.Client().ApplyURI(os.Args[1])
	if len(os.Args) > 2 {
		client.SetAuth(options.Credential{AuthMechanism: "MONGODB-OIDC", OIDCMachineCallback: fromKeyfob(os.Args[2])})
	}
	connection, err := mongo.Connect(client)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Disconnect(ctx)
	cursor, err := connection.Database("shop").Collection("orders").Find(ctx, bson.D{})
	if err != nil {
		log.Fatal(err)
	}
	var orders []bson.M
	if err := cursor.All(ctx, &orders); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(orders), "orders")
}
