//! Every key of the configuration: the one list behind reading, `latent config schema`, and the
//! test that each key is documented in `default.toml`.

use super::proof::Proof;
use crate::model::AlarmClass;

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// Several texts.
    Texts,
    /// Several texts, or none: an empty list takes back what a lower layer says.
    List,
    /// A length of time with its unit, such as `"10m"`; `"never"` only where `never` is true.
    Duration {
        /// Whether `"never"` is a value.
        never: bool,
    },
    /// A length of time as with `never`, or `"auto"`.
    Idle,
    /// A whole number within bounds.
    Count {
        /// The least.
        min: u32,
        /// The greatest.
        max: u32,
    },
    /// `true` or `false`.
    Bool,
    /// An amount of US dollars: `"25.00"`, or a number.
    Amount,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One or several of these words.
    Choices(&'static [&'static str]),
    /// A table with these keys.
    Table(&'static [Key]),
    /// A list of tables with these keys.
    Tables(&'static [Key]),
    /// Tables with these keys, each under a name.
    Named(&'static [Key]),
    /// A text, or a table with these keys.
    TextOrTable(&'static [Key]),
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// What it means, in one sentence.
    pub doc: &'static str,
}

const fn must(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, required: true, doc }
}

const fn may(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, required: false, doc }
}

const SPAN: Kind = Kind::Duration { never: false };

/// `[fleet]` of `latent.toml`.
pub(super) const FLEET_KEYS: &[Key] = &[
    must("name", Kind::Text, "The fleet's name: every instance carries it, every listing filters on it."),
    must("controller", Kind::Text, "This controller's id: it changes only what carries it."),
    may("ledger", Kind::Text, "The ledger's file, relative to latent.toml."),
    may("master", Kind::Text, "host:port where workers find the master; user data templates use it."),
    may("instances_max", Kind::Count { min: 1, max: 100_000 }, "The most instances that may live at once."),
    may("proxies", Kind::Texts, "Addresses from which the connections of several workers come: proxies, NAT."),
    may(
        "identity_certificates",
        Kind::Text,
        "The folder of AWS's certificates, REGION.pem each, relative to latent.toml.",
    ),
    may("principal", Kind::Text, "The ARN of the role or user that assumes the owners' roles; `latent iam` names it."),
];

/// `[link]` of `latent.toml`.
pub(super) const LINK_KEYS: &[Key] = &[
    may("socket", Kind::Text, "The controller's Unix socket, relative to latent.toml; mode 0600."),
    may("listen", Kind::Text, "Also listen here, as host:port; needs a token."),
    may("token", Kind::Table(SECRET_KEYS), "The bearer token that TCP clients must show."),
];

/// `[page]` of `latent.toml`.
pub(super) const PAGE_KEYS: &[Key] = &[
    may("listen", Kind::Text, "Serve the status page here, as address:port; beyond the machine itself with a token."),
    may("token", Kind::Table(SECRET_KEYS), "The token that who looks at the page must know."),
];

/// `[polling]` of `latent.toml`.
pub(super) const POLLING_KEYS: &[Key] = &[
    may("fast", SPAN, "Time between listings of a cell while something is in transition."),
    may("slow", SPAN, "Time between listings of a cell otherwise."),
];

/// `[requirements]` of `latent.toml`.
pub(super) const REQUIREMENTS_KEYS: &[Key] = &[
    may("min_vcpus", Kind::Count { min: 1, max: 1024 }, "The fewest virtual CPUs of an instance type."),
    may("min_memory_mib", Kind::Count { min: 1, max: 33_554_432 }, "The least memory of an instance type, in MiB."),
    may("min_root_gib", Kind::Count { min: 1, max: 65_536 }, "The smallest root volume, in GiB."),
    may("outbound", Kind::Texts, "Ports that builds must reach beside the master's, each as \"tcp/443\"."),
    may("max_ami_age", SPAN, "The age from which an AMI is due to be made anew."),
];

/// `[defaults]` of `latent.toml`.
pub(super) const DEFAULTS_KEYS: &[Key] = &[
    may("policy", Kind::Text, "The policy of workers that name none."),
    may("owner", Kind::Text, "The owner of workers that name none."),
];

/// A secret by reference.
pub(super) const SECRET_KEYS: &[Key] = &[
    may("env", Kind::Text, "The environment variable that holds it."),
    may("file", Kind::Text, "The file that holds it, relative to latent.toml."),
];

/// `credentials` of an owner.
pub(super) const CREDENTIALS_KEYS: &[Key] = &[
    may("assume_role", Kind::Text, "The ARN of the owner's role to assume."),
    may("external_id", Kind::Text, "The external id that the role's trust policy demands."),
    may("profile", Kind::Text, "A profile of the shared AWS configuration."),
    may("environment", Kind::Bool, "Take what the environment offers: variables, container or instance role."),
    may("key_file", Kind::Text, "A file of two lines, access key id and secret key; the lesser way than assume_role."),
];

/// `[owner.NAME.budget]` of `latent.toml`.
pub(super) const BUDGET_KEYS: &[Key] = &[
    may("soft", Kind::Amount, "Dollars per calendar month (UTC) from which on the owner is told."),
    may("hard", Kind::Amount, "Dollars per calendar month (UTC) at which nothing is launched any more."),
    may("at_hard", Kind::Choice(&["finish", "stop"]), "What becomes of a build that runs when hard is reached."),
    may("unpriced", Kind::Choice(&["refuse", "allow"]), "Whether a type is launched of which no price is known."),
];

/// One limit of `rates`.
pub(super) const RATE_KEYS: &[Key] = &[
    must("burst", Kind::Count { min: 1, max: 1_000_000 }, "Calls at once: the bucket's maximum capacity."),
    must("refill", Kind::Count { min: 1, max: 1_000_000 }, "Calls per second: the bucket's refill rate."),
];

/// `[owner.NAME.rates]` of `latent.toml`.
pub(super) const RATES_KEYS: &[Key] = &[
    may("run_instances", Kind::Table(RATE_KEYS), "Launches."),
    may("start_instances", Kind::Table(RATE_KEYS), "Starts of stopped instances."),
    may("stop_instances", Kind::Table(RATE_KEYS), "Stops."),
    may("terminate_instances", Kind::Table(RATE_KEYS), "Terminations."),
    may("describe_instances", Kind::Table(RATE_KEYS), "Listings."),
    may("create_tags", Kind::Table(RATE_KEYS), "Tags, such as renewed leases."),
];

/// `[owner.NAME]` of `latent.toml`.
pub(super) const OWNER_KEYS: &[Key] = &[
    must("account", Kind::Text, "The owner's AWS account number: 12 digits, quoted."),
    must("credentials", Kind::Table(CREDENTIALS_KEYS), "How to act in the account; never a key itself."),
    may("contact", Kind::Text, "Whom to tell when something needs the owner."),
    may("budget", Kind::Table(BUDGET_KEYS), "What the owner's machines may cost in a month."),
    may("disk_gib_max", Kind::Count { min: 1, max: 65_536 }, "The largest disk that `latent iam` allows, in GiB."),
    may("endpoint", Kind::Text, "Another address of the EC2 and STS API, for a local EC2."),
    may("notify", Kind::Table(ADDRESSEE_KEYS), "How the owner is told; by mail to the contact if not given."),
    may("rates", Kind::Table(RATES_KEYS), "The account's API limits, where they are not the published ones."),
];

/// `notify` of an owner, and `admin` of `[notify]`.
pub(super) const ADDRESSEE_KEYS: &[Key] = &[
    may("mail", Kind::List, "Addresses that are written to."),
    may("webhook", Kind::List, "Names of webhooks of [notify] that are called."),
    may("classes", Kind::Choices(AlarmClass::WORDS), "What is told; everything if not given."),
    may("quiet_hours", Kind::Text, "When only what is urgent is told, in UTC; that of [notify] if not given."),
    may("down_after", SPAN, "When a worker counts as down; that of [notify] if not given."),
];

/// `[notify]` of `latent.toml`.
pub(super) const NOTIFY_KEYS: &[Key] = &[
    may("quiet_hours", Kind::Text, "When only what is urgent is told, in UTC."),
    may("digest", SPAN, "What comes within so long of a message waits, and becomes one."),
    may("daily_max", Kind::Count { min: 1, max: 1_000 }, "The most messages to one place in a day."),
    may("weekly", Kind::Text, "When the week's summary is sent, in UTC, or \"never\"."),
    may("down_after", SPAN, "When a worker counts as down; learned from its own history if not given."),
    may("admin", Kind::Table(ADDRESSEE_KEYS), "How the admin is told, of everything."),
    may("smtp", Kind::Table(SMTP_KEYS), "The server that takes mail."),
    may("sendmail", Kind::Table(SENDMAIL_KEYS), "The command that takes mail, in the place of a server."),
    may("webhook", Kind::Named(WEBHOOK_KEYS), "Webhooks by name."),
];

/// `[notify.smtp]` of `latent.toml`.
pub(super) const SMTP_KEYS: &[Key] = &[
    must("host", Kind::Text, "The server's name, as its certificate has it."),
    may("port", Kind::Count { min: 1, max: 65_535 }, "Its port: 587 for starttls, 465 for tls, 25 for none."),
    may("tls", Kind::Choice(&["starttls", "tls", "none"]), "How the connection is protected."),
    may("user", Kind::Text, "The name to log in with."),
    may("password", Kind::Table(SECRET_KEYS), "The password to log in with."),
    must("from", Kind::Text, "The sender's address."),
    may("ca_file", Kind::Text, "A PEM file of authorities to trust in the place of the system's."),
];

/// `[notify.sendmail]` of `latent.toml`.
pub(super) const SENDMAIL_KEYS: &[Key] = &[
    must("command", Kind::Texts, "The program and its arguments; no shell reads them."),
    must("from", Kind::Text, "The sender's address."),
];

/// `[notify.webhook.NAME]` of `latent.toml`.
pub(super) const WEBHOOK_KEYS: &[Key] = &[
    must("url", Kind::TextOrTable(SECRET_KEYS), "Where it is sent to."),
    may("format", Kind::Choice(&["json", "slack", "discord"]), "In which form."),
    may("headers", Kind::Table(SECRET_KEYS), "More headers, a line each, such as Authorization: Bearer …."),
    may("ca_file", Kind::Text, "A PEM file of authorities to trust beside the system's."),
];

/// An owner that a master declares: its account is learnt at the first contact.
pub(super) const DECLARED_OWNER_KEYS: &[Key] = &[
    must("credentials", Kind::Table(CREDENTIALS_KEYS), "How to act in the account."),
    may("endpoint", Kind::Text, "Another address of the EC2 and STS API, for a local EC2."),
];

/// `[worker.NAME]` of `latent.toml`.
pub(super) const WORKER_KEYS: &[Key] = &[
    may("owner", Kind::Text, "Who pays; the image's owner if not given."),
    must("image", Kind::Text, "The image manifest: the stem of a file in amis/."),
    may("policy", Kind::Text, "The lifecycle policy: the stem of a file in policies/."),
    may("password", Kind::Table(SECRET_KEYS), "The worker's password at the master, for injected identities."),
];

/// One entry of `subnets`.
pub(super) const SUBNET_KEYS: &[Key] =
    &[must("id", Kind::Text, "The subnet's id."), may("zone", Kind::Text, "The zone it lies in, to be checked.")];

/// One entry of `block_devices`.
pub(super) const BLOCK_DEVICE_KEYS: &[Key] = &[
    must("device", Kind::Text, "The device name, such as /dev/sda1."),
    may("size_gib", Kind::Count { min: 1, max: 65_536 }, "The size in GiB."),
    may("type", Kind::Choice(&["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"]), "The EBS volume type."),
    may("encrypted", Kind::Bool, "Whether the volume is encrypted."),
    may("snapshot", Kind::Text, "The snapshot that the volume is made from, snap-…."),
    may("iops", Kind::Count { min: 100, max: 256_000 }, "Operations per second, for gp3, io1 and io2."),
    may("throughput", Kind::Count { min: 125, max: 2_000 }, "Throughput in MiB per second, for gp3."),
    may("kms_key", Kind::Text, "The KMS key that encrypts the volume: an id, an alias or an ARN."),
    may("delete_on_termination", Kind::Bool, "Whether the volume ends with its instance; true if not given."),
    may("virtual_name", Kind::Text, "An instance store volume, such as ephemeral0, in the place of an EBS volume."),
    may("no_device", Kind::Bool, "true leaves a device away that the AMI maps."),
];

/// One entry of `volumes`.
pub(super) const VOLUME_KEYS: &[Key] = &[
    must("id", Kind::Text, "The volume's id, vol-…."),
    must("device", Kind::Text, "The device name that it gets, such as /dev/sdf."),
];

/// `[rebake]` of `latent.toml` and of `amis/NAME.toml`.
pub const REBAKE_KEYS: &[Key] = &[
    may("channel", Kind::Choice(&["auto", "user-data", "ssm"]), "How the builder is told what to do."),
    may("recipe", Kind::Choice(&["auto", "apt", "dnf", "freebsd", "windows"]), "How its system is brought up to date."),
    may("rounds_max", Kind::Count { min: 1, max: 50 }, "The most rounds of updates; more to find is a failure."),
    may("deadline", SPAN, "The end of the builder, whatever it does."),
    may("instance_type", Kind::Text, "The builder's instance type; the image's first one if not given."),
    may("instance_profile", Kind::Text, "The builder's instance profile, for the agent of Systems Manager."),
    may("security_groups", Kind::Texts, "Security groups of the builder; one of its own if not given."),
    may("service", Kind::Texts, "Names of the worker's services; the recipe looks for the usual ones if not given."),
    may("worker_version", Kind::Text, "The least version of buildbot-worker, such as \"4.0\"."),
    may("clean", Kind::List, "More paths that are emptied before the image is made."),
    may("script", Kind::Text, "A script that runs after the updates, relative to amis/."),
    may("sysprep", Kind::Bool, "Whether Windows is generalised by sysprep."),
    may("smoke_builder", Kind::Text, "A builder of the master's that must succeed on the new AMI."),
    may("window", Kind::List, "When the controller may rebake by itself, in UTC, such as \"Sat 02:00-06:00\"."),
    may("soak_starts", Kind::Count { min: 1, max: 1000 }, "So many starts of a new generation are compared."),
    may("soak_for", SPAN, "How long a new generation is compared with the one before."),
    may("retire", Kind::Bool, "Whether generations that are replaced are put away in the end."),
];

/// `amis/NAME.toml`.
pub const IMAGE_KEYS: &[Key] = &[
    must("owner", Kind::Text, "Whose account launches it."),
    must("region", Kind::Text, "The region of the AMI."),
    may("ami", Kind::Text, "The AMI's id; excludes ami_owners and ami_location."),
    may("previous", Kind::Text, "The AMI before it, to which a rollback goes; promotion writes it."),
    may("generation", Kind::Count { min: 1, max: 1_000_000 }, "Which generation the AMI is; promotion writes it."),
    may(
        "ami_owners",
        Kind::Texts,
        "Whose AMIs one is chosen from: quoted account numbers, self, amazon, aws-marketplace, microsoft.",
    ),
    may(
        "ami_location",
        Kind::Text,
        "A regular expression that the location of the chosen AMI fits from its beginning.",
    ),
    may("platform", Kind::Choice(&["linux", "windows", "macos", "freebsd"]), "What runs on it."),
    may("architecture", Kind::Choice(&["x86_64", "arm64"]), "The processor it is made for."),
    must("instance_types", Kind::Texts, "Instance types, the first choice first."),
    may("subnets", Kind::Tables(SUBNET_KEYS), "Subnets, the first choice first; excludes zones."),
    may("zones", Kind::Texts, "Zones of the default VPC, the first choice first; excludes subnets."),
    may("security_groups", Kind::Texts, "Security group ids; excludes security_group_names."),
    may(
        "security_group_names",
        Kind::Texts,
        "Names of security groups of the default VPC; excludes security_groups and subnets.",
    ),
    may("key_pair", Kind::Text, "A key pair for the owner to log in with."),
    may("instance_profile", Kind::Text, "An instance profile's name."),
    may("block_devices", Kind::Tables(BLOCK_DEVICE_KEYS), "Disks beyond or instead of what the AMI says."),
    may(
        "identity",
        Kind::Choice(&["baked", "injected"]),
        "Whether worker name and password are in the AMI or in the user data.",
    ),
    may("user_data", Kind::Text, "A user data template, relative to the manifest."),
    may(
        "batch_max",
        Kind::Count { min: 1, max: 100 },
        "How many workers one launch call may be for; their user data picks by the launch index.",
    ),
    may(
        "lease_watch",
        Kind::Choice(&["user-data", "baked", "none"]),
        "How the watch that powers an unattended instance off comes into it.",
    ),
    may("market", Kind::Choices(&["on-demand", "spot"]), "How capacity is bought, the first choice first."),
    may("spot_price_max", Kind::Text, "The most that an hour of spot capacity may cost, in dollars, such as \"1.6\"."),
    may("elastic_ip", Kind::Text, "An elastic IP address, or eipalloc-…, that the running instance is given."),
    may("volumes", Kind::Tables(VOLUME_KEYS), "Volumes of the owner's that the running instance is given."),
    may("tags", Kind::Texts, "More tags for everything launched, each as \"key=value\"."),
    may(
        "rebake",
        Kind::Table(REBAKE_KEYS),
        "How its next AMI is made; what it leaves out, [rebake] of latent.toml says.",
    ),
];

/// `policies/NAME.toml`, and `[policy]` of `latent.toml`.
pub const POLICY_KEYS: &[Key] = &[
    may("idle_timeout", Kind::Idle, "How long a connected worker may have nothing to do."),
    may("idle_timeout_min", SPAN, "The least that idle_timeout = \"auto\" chooses."),
    may("idle_timeout_max", SPAN, "The most that idle_timeout = \"auto\" chooses."),
    may(
        "wait_price",
        Kind::Amount,
        "Dollars that an hour is worth in which a build waits, for idle_timeout = \"auto\".",
    ),
    may("on_idle", Kind::Choice(&["terminate", "stop", "hibernate"]), "What happens to an idle instance."),
    may("warm", Kind::List, "When an idle instance is kept, and one is launched by itself, in UTC."),
    may("launch_deadline", SPAN, "From the request to an instance."),
    may("connect_deadline", SPAN, "From the instance to a connected worker."),
    may("stop_deadline", SPAN, "From a stop or terminate call to its effect, before it is repeated or made stronger."),
    may("drain_deadline", SPAN, "How long a master may take to let go of a worker."),
    may("max_lifetime", SPAN, "The end of an instance, whatever it does."),
    may("max_age", Kind::Duration { never: true }, "The age from which an instance goes once its build is over."),
    may(
        "max_builds",
        Kind::Count { min: 1, max: 1_000_000 },
        "After so many builds an instance goes, for a fresh one.",
    ),
    may("master_silence", SPAN, "How long a master may be silent before its idle instances are taken away."),
    may("lease", SPAN, "How long the controller vouches for an instance at a time."),
    may("retry_pause", SPAN, "Pause after a failed launch or connect; it doubles with each failure in a row."),
    may("retry_pause_max", SPAN, "The longest such pause."),
    may("offering_memory", SPAN, "How long an offering without capacity is not asked again; it doubles."),
    may("offering_memory_max", SPAN, "The longest such time."),
    may("absence_grace", SPAN, "How long complete listings must miss an instance before it counts as gone."),
    may("proof", Kind::Choice(Proof::WORDS), "What a worker must prove before its connection is taken."),
    may("orphan_grace", SPAN, "Time between the two looks at an instance that no record explains."),
];

/// What may be done about an instance.
const ANY_RESPONSE: Kind = Kind::Choice(&["report", "stop", "terminate"]);
/// What may be done about anything else.
const NO_STOP: Kind = Kind::Choice(&["report", "terminate"]);

/// `respond` of `[sweep]`. What is only ever reported has no key.
pub(super) const RESPOND_KEYS: &[Key] = &[
    may("orphan", ANY_RESPONSE, "A running instance that its controller does not know."),
    may("state-skew", ANY_RESPONSE, "A running instance that its controller takes for stopped or gone."),
    may("never-connected", ANY_RESPONSE, "A running instance whose worker has not connected long after its deadline."),
    may("unattended", ANY_RESPONSE, "A running instance whose lease is over."),
    may("expired", ANY_RESPONSE, "An instance past its absolute deadline."),
    may("stopped-too-long", ANY_RESPONSE, "An instance stopped for longer than stopped_max."),
    may("bake-overdue", ANY_RESPONSE, "A rebake's builder or canary past its deadline."),
    may("volume-available", NO_STOP, "A volume attached to nothing."),
    may("address-idle", NO_STOP, "An elastic IP address that nothing running uses."),
    may("interface-available", NO_STOP, "A network interface attached to nothing."),
    may("spot-request-open", NO_STOP, "A live spot request without a live instance."),
    may("snapshot-orphan", NO_STOP, "A snapshot that belongs to no AMI."),
    may("ami-superseded", NO_STOP, "An AMI that newer ones have replaced."),
    may("ami-stuck", NO_STOP, "An AMI that failed, or is pending for longer than ami_stuck."),
];

/// `[sweep]` of `latent.toml`.
pub const SWEEP_KEYS: &[Key] = &[
    may("period", SPAN, "How often the controller looks for leftovers in each cell."),
    may("grace", SPAN, "How long a lease or a deadline must be over before one look is enough."),
    may("second_look", SPAN, "The least time between the two looks at everything else."),
    may("young", SPAN, "Nothing younger counts as left over, whatever it looks like."),
    may("stopped_max", SPAN, "How long an instance may be stopped."),
    may("ami_stuck", SPAN, "How long an AMI may be pending."),
    may("ami_keep", Kind::Count { min: 2, max: 100 }, "So many AMIs of an image are kept, whatever their age."),
    may("ami_keep_for", SPAN, "An AMI is kept for so long, however many newer ones there are."),
    may("acts_free", Kind::Count { min: 0, max: 1000 }, "So few acts at once need not keep within acts_percent."),
    may("acts_max", Kind::Count { min: 1, max: 100_000 }, "More acts at once than this, and nothing is done."),
    may(
        "acts_percent",
        Kind::Count { min: 1, max: 100 },
        "A larger share of what is ours of one kind, and nothing is done.",
    ),
    may("respond", Kind::Table(RESPOND_KEYS), "What may be done about each kind of leftover."),
];

/// Every section with its place in the files, for documentation and schema.
pub fn all_sections() -> [(&'static str, &'static [Key]); 20] {
    [
        ("fleet", FLEET_KEYS),
        ("link", LINK_KEYS),
        ("page", PAGE_KEYS),
        ("polling", POLLING_KEYS),
        ("requirements", REQUIREMENTS_KEYS),
        ("defaults", DEFAULTS_KEYS),
        ("notify", NOTIFY_KEYS),
        ("notify.admin", ADDRESSEE_KEYS),
        ("notify.smtp", SMTP_KEYS),
        ("notify.sendmail", SENDMAIL_KEYS),
        ("notify.webhook.NAME", WEBHOOK_KEYS),
        ("owner.NAME", OWNER_KEYS),
        ("owner.NAME.notify", ADDRESSEE_KEYS),
        ("owner.NAME.rates", RATES_KEYS),
        ("worker.NAME", WORKER_KEYS),
        ("policy", POLICY_KEYS),
        ("sweep", SWEEP_KEYS),
        ("sweep.respond", RESPOND_KEYS),
        ("rebake", REBAKE_KEYS),
        ("image", IMAGE_KEYS),
    ]
}
