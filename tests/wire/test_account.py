"""What an account is born with, and who is who."""

from __future__ import annotations

from account import OTHER_REGION, REGION, TYPE, Account, named, refused


def test_an_account_has_a_default_vpc_with_a_subnet_in_each_zone(account: Account) -> None:
    (vpc,) = account.ec2.describe_vpcs(Filters=named("is-default", "true"))["Vpcs"]
    zones = account.ec2.describe_availability_zones()["AvailabilityZones"]
    assert {zone["State"] for zone in zones} == {"available"}
    assert all(zone["ZoneName"].startswith(REGION) and zone["RegionName"] == REGION for zone in zones)
    subnets = account.ec2.describe_subnets(Filters=named("vpc-id", vpc["VpcId"]))["Subnets"]
    assert {one["AvailabilityZone"] for one in subnets} == {zone["ZoneName"] for zone in zones}
    assert len(zones) >= 2
    with refused("InvalidSubnetID.NotFound"):
        account.ec2.describe_subnets(SubnetIds=["subnet-00000000000000000"])


def test_accounts_do_not_share_their_networks(account: Account, other: Account) -> None:
    mine, theirs = ({one["SubnetId"] for one in each.subnets()} for each in (account, other))
    assert mine and theirs and not mine & theirs


def test_security_groups_come_by_name_and_by_id(account: Account) -> None:
    (default,) = account.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    made = account.ec2.create_security_group(
        GroupName="workers", Description="outgoing only", VpcId=default["VpcId"]
    )["GroupId"]
    with refused("InvalidGroup.Duplicate"):
        account.ec2.create_security_group(GroupName="workers", Description="again", VpcId=default["VpcId"])
    rule = {
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 22,
        "IpRanges": [{"CidrIp": "192.0.2.0/24"}],
    }
    account.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[rule])
    with refused("InvalidPermission.Duplicate"):
        account.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[rule])
    (shown,) = account.ec2.describe_security_groups(GroupIds=[made])["SecurityGroups"]
    assert [one["FromPort"] for one in shown["IpPermissions"]] == [22]
    instance = account.launch(SecurityGroupIds=[made])
    assert [one["GroupId"] for one in account.describe(instance)["SecurityGroups"]] == [made]
    with refused("InvalidGroup.NotFound"):
        account.ec2.describe_security_groups(GroupNames=["nobody's"])


def test_key_pairs_are_made_once(account: Account) -> None:
    made = account.ec2.create_key_pair(KeyName="alice")
    assert "PRIVATE KEY" in made["KeyMaterial"]
    with refused("InvalidKeyPair.Duplicate"):
        account.ec2.create_key_pair(KeyName="alice")
    (shown,) = account.ec2.describe_key_pairs(KeyNames=["alice"])["KeyPairs"]
    assert shown["KeyFingerprint"] == made["KeyFingerprint"]
    assert account.describe(account.launch(KeyName="alice"))["KeyName"] == "alice"
    with refused("InvalidKeyPair.NotFound"):
        account.ec2.describe_key_pairs(KeyNames=["bob"])


def test_regions_are_told(account: Account) -> None:
    regions = {one["RegionName"] for one in account.ec2.describe_regions()["Regions"]}
    assert {REGION, OTHER_REGION} <= regions


def test_instance_types_are_told(account: Account) -> None:
    (shown,) = account.ec2.describe_instance_types(InstanceTypes=[TYPE])["InstanceTypes"]
    assert shown["VCpuInfo"]["DefaultVCpus"] == 2
    assert "x86_64" in shown["ProcessorInfo"]["SupportedArchitectures"]
    with refused("InvalidInstanceType", "InvalidParameterValue"):
        account.ec2.describe_instance_types(InstanceTypes=["m5.colossal"])


def test_addresses_are_listed(account: Account) -> None:
    assert account.ec2.describe_addresses()["Addresses"] == []


def test_the_key_says_which_account_it_is(account: Account, other: Account) -> None:
    for each in (account, other):
        identity = each.client("sts").get_caller_identity()
        assert identity["Account"] == each.id
        assert each.id in identity["Arn"]


def test_a_role_leads_into_another_account(account: Account, other: Account) -> None:
    answer = account.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{other.id}:role/latent-worker",
        RoleSessionName="latent",
        ExternalId="example",
        DurationSeconds=900,
    )
    credentials = answer["Credentials"]
    assert credentials["SessionToken"] and credentials["Expiration"]
    assert other.id in answer["AssumedRoleUser"]["Arn"]
    assert account.client("sts", credentials=credentials).get_caller_identity()["Account"] == other.id
    image = other.image
    made = account.client(credentials=credentials).run_instances(
        ImageId=image, InstanceType=TYPE, MinCount=1, MaxCount=1
    )
    assert [one["id"] for one in other.truth()] == [made["Instances"][0]["InstanceId"]]
    assert not account.truth()


def test_a_role_that_is_no_role_is_refused(account: Account) -> None:
    with refused("ValidationError", "AccessDenied", "InvalidParameterValue"):
        account.client("sts").assume_role(RoleArn="not a role at all, and long", RoleSessionName="latent")
