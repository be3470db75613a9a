// SPDX-License-Identifier: Apache-2.0
// MongoDB's driver for .NET (NuGet MongoDB.Driver, 3.2.0 or newer), by what `keyfob uri atlas HOST` prints:
//   keyfob run --mongodb=atlas -- dotnet run 'mongodb://HOST/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s'

using MongoDB.Bson;
using MongoDB.Driver;

using var client = new MongoClient(args[0]);
var orders = client.GetDatabase("shop").GetCollection<BsonDocument>("orders").Find(FilterDefinition<BsonDocument>.Empty).ToList();
Console.WriteLine($"{orders.Count} orders");
