"""Uses an RDS API as an administrator's script does, with boto3, and prints what it saw as JSON.

Called with an endpoint. "facts" must be the same from every server; "types" are the fields of a cluster and of an
instance with their types, of which servers may tell more or fewer.
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

rds = boto3.client(
    "rds",
    endpoint_url=sys.argv[1],
    region_name="eu-west-1",
    aws_access_key_id="AKIDLAB",
    aws_secret_access_key="testbed",
    config=Config(retries={"max_attempts": 1}, proxies={}),
)


def create(cluster, members, engine="aurora-postgresql"):
    told = rds.create_db_cluster(
        DBClusterIdentifier=cluster, Engine=engine, MasterUsername="testbed", MasterUserPassword="testbedpassword"
    )["DBCluster"]
    for member in members:
        rds.create_db_instance(
            DBInstanceIdentifier=member, DBClusterIdentifier=cluster, DBInstanceClass="db.r6g.large", Engine=engine
        )
    return told


def cluster(identifier):
    return rds.describe_db_clusters(DBClusterIdentifier=identifier)["DBClusters"][0]


def roles(identifier):
    members = cluster(identifier)["DBClusterMembers"]
    return sorted(m["DBInstanceIdentifier"] + ("*" if m["IsClusterWriter"] else "") for m in members)


def refused(call, **arguments):
    try:
        getattr(rds, call)(**arguments)
    except ClientError as error:
        return [error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]]
    return "not refused"


def every(call, rows, key, **arguments):
    pages = rds.get_paginator(call).paginate(PaginationConfig={"PageSize": 20}, **arguments)
    return [row[key] for page in pages for row in page[rows]]


def types(row):
    return {key: type(value).__name__ for key, value in row.items()}


facts = {"created": create("orders", ["orders-1", "orders-2", "orders-3"])["DBClusterIdentifier"]}
facts["roles"] = roles("orders")
for number in range(25):
    create(f"other-{number}", [f"other-{number}-1"])
facts["clusters"] = sorted(every("describe_db_clusters", "DBClusters", "DBClusterIdentifier"))
facts["instances"] = sorted(every("describe_db_instances", "DBInstances", "DBInstanceIdentifier"))
of_orders = {"Filters": [{"Name": "db-cluster-id", "Values": ["orders", "nowhere"]}]}
facts["filtered"] = sorted(every("describe_db_instances", "DBInstances", "DBInstanceIdentifier", **of_orders))
facts["status"] = cluster("orders")["Status"]
facts["engine"] = cluster("orders")["Engine"]
instance = rds.describe_db_instances(DBInstanceIdentifier="orders-1")["DBInstances"][0]
facts["instance"] = [instance["DBInstanceStatus"], instance["DBClusterIdentifier"], instance["DBInstanceClass"]]
shapes = {"cluster": types(cluster("orders")), "instance": types(instance)}

rds.failover_db_cluster(DBClusterIdentifier="orders", TargetDBInstanceIdentifier="orders-3")
facts["after failover"] = roles("orders")
rds.delete_db_instance(DBInstanceIdentifier="orders-2", SkipFinalSnapshot=True)
facts["after delete"] = roles("orders")
rds.reboot_db_instance(DBInstanceIdentifier="orders-1")
facts["after reboot"] = roles("orders")

create("empty", [])
facts["errors"] = {
    "unknown cluster": refused("describe_db_clusters", DBClusterIdentifier="nowhere"),
    "unknown instance": refused("describe_db_instances", DBInstanceIdentifier="nowhere"),
    "failover of nothing": refused("failover_db_cluster", DBClusterIdentifier="nowhere"),
    "failover without readers": refused("failover_db_cluster", DBClusterIdentifier="other-1"),
    "reboot of nothing": refused("reboot_db_instance", DBInstanceIdentifier="nowhere"),
    "delete of nothing": refused("delete_db_instance", DBInstanceIdentifier="nowhere"),
    "delete of no cluster": refused("delete_db_cluster", DBClusterIdentifier="nowhere", SkipFinalSnapshot=True),
    "unknown filter": refused("describe_db_clusters", Filters=[{"Name": "bogus", "Values": ["x"]}]),
    # A second cluster of the same name is not here: moto says that a snapshot exists.
    "second instance": refused("create_db_instance", DBInstanceIdentifier="orders-1", DBClusterIdentifier="orders",
                               DBInstanceClass="db.r6g.large", Engine="aurora-postgresql"),
    "member of nothing": refused("create_db_instance", DBInstanceIdentifier="x-1", DBClusterIdentifier="nowhere",
                                 DBInstanceClass="db.r6g.large", Engine="aurora-postgresql"),
    "delete of a cluster with members": refused("delete_db_cluster", DBClusterIdentifier="orders",
                                                SkipFinalSnapshot=True),
}
rds.delete_db_cluster(DBClusterIdentifier="empty", SkipFinalSnapshot=True)
facts["deleted"] = refused("describe_db_clusters", DBClusterIdentifier="empty")
json.dump({"facts": facts, "types": shapes}, sys.stdout)
