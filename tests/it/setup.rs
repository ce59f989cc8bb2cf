//! A configuration in a few words.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use latent::policy::price::{Money, PriceEntry, Prices, Software, as_of, price_file};
use latent::policy::{Intent, Secret, Sources};

/// The texts of a configuration; each call changes one thing.
#[derive(Clone)]
pub(crate) struct Setup {
    controller: String,
    fleet: String,
    policy: String,
    owners: BTreeMap<String, String>,
    budgets: BTreeMap<String, String>,
    images: BTreeMap<String, String>,
    workers: BTreeMap<String, String>,
    templates: BTreeMap<String, String>,
    policies: BTreeMap<String, String>,
    real_accounts: BTreeMap<String, String>,
    more: String,
    prices: Arc<Prices>,
}

impl Setup {
    /// Worker w1 on alice's image debian in us-west-2, with one offering.
    pub(crate) fn new() -> Self {
        let empty = Self {
            controller: "ctl".to_owned(),
            fleet: String::new(),
            policy: String::new(),
            owners: BTreeMap::new(),
            budgets: BTreeMap::new(),
            images: BTreeMap::new(),
            workers: BTreeMap::new(),
            templates: BTreeMap::new(),
            policies: BTreeMap::new(),
            real_accounts: BTreeMap::new(),
            more: String::new(),
            prices: Arc::default(),
        };
        empty.owner("alice", "111111111111").image("debian", "alice", "us-west-2", "").worker("w1", "debian")
    }

    /// Lines of `[fleet]`.
    pub(crate) fn fleet(mut self, lines: &str) -> Self {
        self.fleet = lines.to_owned();
        self
    }

    /// The controller's id.
    pub(crate) fn controller(mut self, id: &str) -> Self {
        self.controller = id.to_owned();
        self
    }

    pub(crate) fn controller_id(&self) -> &str {
        &self.controller
    }

    /// Lines of `[policy]`.
    pub(crate) fn policy(mut self, lines: &str) -> Self {
        self.policy = lines.to_owned();
        self
    }

    pub(crate) fn owner(mut self, name: &str, account: &str) -> Self {
        self.owners.insert(name.to_owned(), account.to_owned());
        self
    }

    /// The owner's `budget`, as the inside of its table.
    pub(crate) fn budget(mut self, owner: &str, table: &str) -> Self {
        self.budgets.insert(owner.to_owned(), table.to_owned());
        self
    }

    /// The account that the owner's credentials really lead to.
    pub(crate) fn credentials_lead_to(mut self, owner: &str, account: &str) -> Self {
        self.real_accounts.insert(owner.to_owned(), account.to_owned());
        self
    }

    pub(crate) fn real_account(&self, owner: &str) -> String {
        let account = self.real_accounts.get(owner).or_else(|| self.owners.get(owner));
        account.cloned().unwrap_or_default()
    }

    /// An image; `lines` may set anything but owner, region, ami and instance types.
    pub(crate) fn image(self, name: &str, owner: &str, region: &str, lines: &str) -> Self {
        self.image_of(name, owner, region, &format!("ami-{name}"), "\"m7i.large\"", lines)
    }

    pub(crate) fn image_of(
        mut self,
        name: &str,
        owner: &str,
        region: &str,
        ami: &str,
        types: &str,
        lines: &str,
    ) -> Self {
        let text = format!(
            "owner = \"{owner}\"\nregion = \"{region}\"\nami = \"{ami}\"\ninstance_types = [{types}]\n{lines}\n"
        );
        self.images.insert(name.to_owned(), text);
        self
    }

    /// An image from which so many workers may be launched by one call.
    pub(crate) fn shared_image(mut self, name: &str, owner: &str, together: u32) -> Self {
        let template = "#!/bin/sh\n{% for w in workers %}: {{ w.worker }} {{ w.password | sh }}\n{% endfor %}";
        self.templates.insert("shared.sh".to_owned(), template.to_owned());
        let lines = format!("identity = \"injected\"\nuser_data = \"shared.sh\"\nbatch_max = {together}");
        self.image(name, owner, "us-west-2", &lines)
    }

    /// An image whose lines say what its AMI is chosen by.
    pub(crate) fn image_by(mut self, name: &str, owner: &str, region: &str, lines: &str) -> Self {
        let text = format!("owner = \"{owner}\"\nregion = \"{region}\"\ninstance_types = [\"m7i.large\"]\n{lines}\n");
        self.images.insert(name.to_owned(), text);
        self
    }

    pub(crate) fn worker(mut self, name: &str, image: &str) -> Self {
        self.workers.insert(name.to_owned(), image.to_owned());
        self
    }

    /// A worker that lives by lines of its own beside those of `[policy]`.
    pub(crate) fn worker_with(mut self, name: &str, image: &str, policy: &str) -> Self {
        self.policies.insert(name.to_owned(), policy.to_owned());
        self.worker(name, image)
    }

    pub(crate) fn without_worker(mut self, name: &str) -> Self {
        self.workers.remove(name);
        self
    }

    /// More tables of `latent.toml`.
    pub(crate) fn more(mut self, lines: &str) -> Self {
        self.more = lines.to_owned();
        self
    }

    /// Other words in them.
    pub(crate) fn more_in(mut self, old: &str, new: &str) -> Self {
        self.more = self.more.replace(old, new);
        self
    }

    /// `latent.toml`.
    /// What an hour of each type costs by a newer list than the program's: region, type, micro-dollars; 0 where the
    /// list gives no price.
    pub(crate) fn asked_prices(mut self, prices: &[(&str, &str, u64)]) -> Self {
        let entry = |&(region, kind, hourly): &(&str, &str, u64)| PriceEntry {
            region: region.parse().expect("a region"),
            instance_type: kind.to_owned(),
            software: Software::LinuxUnix,
            hourly: (hourly > 0).then(|| Money::micro_dollars(hourly)),
            published: None,
            unknown: None,
        };
        let file = price_file(as_of(), prices.iter().map(entry).collect());
        let text = serde_json::to_string(&file).expect("JSON");
        self.prices = Arc::new(Prices::over(&text, as_of()).expect("prices"));
        self
    }

    pub(crate) fn main_text(&self) -> String {
        let mut text = format!("[fleet]\nname = \"test\"\ncontroller = \"{}\"\n{}\n", self.controller, self.fleet);
        let _ = writeln!(text, "[policy]\n{}", self.policy);
        for (name, account) in &self.owners {
            let _ = writeln!(text, "[owner.{name}]\naccount = \"{account}\"\ncredentials = {{ environment = true }}");
            if let Some(budget) = self.budgets.get(name) {
                let _ = writeln!(text, "budget = {{ {budget} }}");
            }
        }
        for (name, image) in &self.workers {
            let _ = writeln!(text, "[worker.{name}]\nimage = \"{image}\"");
            if self.images.get(image).is_some_and(|lines| lines.contains("injected")) {
                let _ = writeln!(text, "password = {{ env = \"PASSWORD\" }}");
            }
            if self.policies.contains_key(name) {
                let _ = writeln!(text, "policy = \"{name}\"");
            }
        }
        text + &self.more
    }

    pub(crate) fn sources(&self) -> Sources {
        let (images, policies) = (self.images.iter(), self.policies.iter());
        Sources {
            main: ("latent.toml".to_owned(), self.main_text()),
            images: images.map(|(name, text)| (name.clone(), format!("amis/{name}.toml"), text.clone())).collect(),
            policies: policies
                .map(|(name, text)| (name.clone(), format!("policies/{name}.toml"), text.clone()))
                .collect(),
            templates: self.templates.clone(),
            ..Sources::default()
        }
    }

    pub(crate) fn intent(&self) -> Intent {
        let sources = self.sources();
        let mut intent = Intent::parse(&sources).unwrap_or_else(|problems| panic!("{problems}"));
        if !self.templates.is_empty() {
            let rendered = intent.render_user_data(&sources, |_| Ok(Secret::new("hush".to_owned())));
            rendered.unwrap_or_else(|problems| panic!("{problems}"));
        }
        intent.prices = Arc::clone(&self.prices);
        intent
    }

    /// Writes the files of the configuration into a folder.
    pub(crate) fn write(&self, folder: &std::path::Path) {
        std::fs::create_dir_all(folder.join("amis")).expect("a folder");
        std::fs::write(folder.join("latent.toml"), self.main_text()).expect("a file");
        for (name, text) in &self.images {
            std::fs::write(folder.join(format!("amis/{name}.toml")), text).expect("a file");
        }
        std::fs::create_dir_all(folder.join("policies")).expect("a folder");
        for (name, text) in &self.policies {
            std::fs::write(folder.join(format!("policies/{name}.toml")), text).expect("a file");
        }
    }
}
