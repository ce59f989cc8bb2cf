//! The status page over a real socket: who may look, what a browser is told, and what stands there.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use latent::control::{Clock, Controller};
use latent::ledger::{Ledger as _, LedgerRead as _};
use latent::link::Page;
use latent::model::{
    Actor, Attempt, Body, Cause, Cell, Entry, Failure, FailureKind, InstanceId, InstanceState, Market, Phase, Sight,
    WorkerName,
};
use latent::policy::Secret;
use latent::sim::{SimCloud, SiteId, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::harness::{LedgerFaults, TestLedger, worker};
use crate::setup::Setup;

const TOKEN: &str = "0123456789abcdef";
/// No answer takes longer.
const SOON: Duration = Duration::from_secs(20);

/// A page of a controller on a simulated EC2; it ends with this value.
struct Looked {
    at: SocketAddr,
    controller: Controller<TestLedger>,
    ledger: TestLedger,
    stop: watch::Sender<bool>,
}

impl Drop for Looked {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// An answer, as it came.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

async fn page_of(setup: &Setup, ledger: TestLedger, clock: Clock, token: Option<&str>) -> Looked {
    let token = token.map(|token| Secret::new(token.to_owned()));
    let page = Page::bind("127.0.0.1:0".parse().expect("an address"), token).await.expect("binds");
    let at = page.address().expect("an address");
    let (world, time) = (Arc::new(Mutex::new(World::steady())), clock.clone());
    let connect = move |_: &Cell, _: &_| {
        SimCloud::new(Arc::clone(&world), SiteId::new("111111111111", "us-west-2"), None, time.clone())
    };
    let controller = Controller::start(setup.intent(), ledger.clone(), clock, 1, connect).expect("starts");
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(page.run(controller.clone(), ("test".to_owned(), "ctl".to_owned()), None, None, stopped));
    Looked { at, controller, ledger, stop }
}

async fn page(token: Option<&str>) -> Looked {
    page_of(&Setup::new(), TestLedger::default(), Clock::system(), token).await
}

impl Looked {
    /// One request by hand, with these lines in its head; `{}` stands for the port.
    async fn ask(&self, method: &str, path: &str, head: &str, body: &str) -> Answer {
        let (port, length) = (self.at.port(), body.len());
        let head = if head.to_lowercase().contains("host:") {
            head.to_owned()
        } else {
            format!("host: 127.0.0.1:{{}}\r\n{head}")
        };
        let head = head.replace("{}", &port.to_string());
        let request =
            format!("{method} {path} HTTP/1.1\r\n{head}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        let exchange = async {
            let mut stream = TcpStream::connect(self.at).await.expect("connects");
            stream.write_all(request.as_bytes()).await.expect("is sent");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.expect("is answered");
            String::from_utf8(bytes).expect("text")
        };
        let text = tokio::time::timeout(SOON, exchange).await.expect("in time");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    /// Waits until every cell is listed.
    async fn listed(&self) {
        let listed = async {
            while !self.controller.health().ready {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, listed).await.expect("lists in time");
    }
}

#[tokio::test]
async fn the_fleet_and_each_worker_have_a_page_and_a_browser_is_told_to_trust_nothing_else() {
    let looked = page(None).await;
    looked.listed().await;
    for path in ["/", "/workers/w1", "/workers/w2", "/nowhere", "/page.css", "/page.js", "/healthz", "/events?after=x"]
    {
        let answer = looked.get(path).await;
        let policy = answer.header("content-security-policy").unwrap_or_default().to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
    }
    let fleet = looked.get("/").await;
    assert_eq!((fleet.status, fleet.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for said in [
        "<h1>test</h1>",
        "Nothing needs you",
        "href=\"/workers/w1\"",
        "The last 24 hours of w1: ",
        "nobody wants it",
        "alice",
    ] {
        assert!(fleet.body.contains(said), "{said}: {}", fleet.body);
    }
    // What the policy forbids would not work: nothing is written into the page that would need it.
    assert!(!fleet.body.contains("style=") && !fleet.body.contains("onclick") && !fleet.body.contains("<script>"));
    let one = looked.get("/workers/w1").await;
    assert!(one.status == 200 && one.body.contains("Worker w1 (owner alice, image debian, us-west-2)"), "{}", one.body);
    assert_eq!((looked.get("/workers/w2").await.status, looked.get("/nowhere").await.status), (404, 404));
    assert!(looked.get("/workers/w2").await.body.contains("known: w1"));
}

#[tokio::test]
async fn it_can_only_be_looked_at() {
    let looked = page(None).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in
            ["/", "/login", "/workers/w1", "/v1/workers/w1/hold", "/v1/workers/w1/start", "/v1/masters/m/report"]
        {
            let answer = looked.ask(method, path, "", "{}").await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
    let head = looked.ask("HEAD", "/", "", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for path in ["/v1/workers/w1/start", "/v1/rebakes", "/v1/masters/m/report"] {
        assert_eq!(looked.get(path).await.status, 404, "{path}");
    }
    assert!(looked.ledger.read(0, 99).expect("reads").iter().all(|entry| entry.body.worker().is_none()));
}

#[tokio::test]
async fn a_name_that_is_not_this_machines_is_refused_where_there_is_no_token() {
    let looked = page(None).await;
    for host in
        ["evil.example", "evil.example:{}", "127.0.0.1.evil.example:{}", "localhost@evil:{}", "0.0.0.0:{}", ":{}", ""]
    {
        let answer = looked.ask("GET", "/v1/status", &format!("host: {host}\r\n"), "").await;
        assert_eq!(answer.status, 421, "{host}");
        assert!(!answer.body.contains("w1"));
    }
    for host in ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:{}", "[::1]:{}"] {
        assert_eq!(looked.ask("GET", "/v1/status", &format!("host: {host}\r\n"), "").await.status, 200, "{host}");
    }
    let elsewhere = "sec-fetch-site: cross-site\r\n";
    assert_eq!(looked.ask("GET", "/v1/status", elsewhere, "").await.status, 403);
    let link = format!("{elsewhere}sec-fetch-mode: navigate\r\n");
    assert_eq!(looked.ask("GET", "/", &link, "").await.status, 200, "a link from elsewhere may lead here");
}

#[tokio::test]
async fn with_a_token_nothing_is_shown_to_who_does_not_know_it() {
    let looked = page(Some(TOKEN)).await;
    for (path, said) in [
        ("/", "name=\"token\""),
        ("/workers/w1", "name=\"token\""),
        ("/v1/status", "unauthorized"),
        ("/events", "unauthorized"),
        ("/page.js", "unauthorized"),
    ] {
        for head in [
            "",
            "authorization: Bearer wrong\r\n",
            "authorization: Bearer \r\n",
            "cookie: latent_page=\r\n",
            "cookie: latent_page=0123456789abcdef\r\n",
        ] {
            let answer = looked.ask("GET", path, head, "").await;
            assert_eq!(answer.status, 401, "{path} {head}");
            assert!(answer.body.contains(said) && !answer.body.contains("debian"), "{path}: {}", answer.body);
        }
    }
    assert_eq!(looked.get("/healthz").await.body, "ok\n");
    let ready = looked.get("/readyz").await.json();
    assert_eq!(ready.as_object().map(|fields| fields.keys().cloned().collect()), Some(vec!["ready".to_owned()]));
    // Behind a proxy it has the name that people know.
    let known = format!("host: fleet.example\r\nauthorization: Bearer {TOKEN}\r\n");
    assert_eq!(looked.ask("GET", "/", &known, "").await.status, 200);
}

#[tokio::test]
async fn a_form_takes_the_token_and_gives_a_cookie_that_is_not_the_token() {
    let looked = page(Some(TOKEN)).await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let log_in = |body: String, more: &'static str| {
        let looked = &looked;
        async move { looked.ask("POST", "/login", &format!("{form}{more}"), &body).await }
    };
    for (body, more, status) in [
        (format!("token={TOKEN}x"), "", 403),
        ("token=".to_owned(), "", 403),
        ("other=1".to_owned(), "", 400),
        (format!("token={}", "x".repeat(5000)), "", 400),
        (format!("token={TOKEN}"), "sec-fetch-site: cross-site\r\n", 403),
    ] {
        let answer = log_in(body.clone(), more).await;
        assert!(answer.status == status && answer.header("set-cookie").is_none(), "{body}: {}", answer.head);
    }
    let answer = log_in(format!("token={TOKEN}"), "sec-fetch-site: same-origin\r\n").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict") && !cookie.contains(TOKEN),
        "{cookie}"
    );
    assert!(!cookie.contains("Secure"), "it would not come back over plain HTTP");
    assert!(log_in(format!("token={TOKEN}"), "x-forwarded-proto: https\r\n").await.head.contains("; Secure"));
    let pair = cookie.split(';').next().expect("a pair");
    let shown = looked.ask("GET", "/", &format!("cookie: other=1; {pair}\r\n"), "").await;
    assert!(shown.status == 200 && shown.body.contains("/workers/w1"));
    let other = page(Some(TOKEN)).await;
    assert_eq!(
        other.ask("GET", "/", &format!("cookie: {pair}\r\n"), "").await.status,
        401,
        "another life knows it not"
    );
    assert_eq!(page(None).await.get("/login").await.status, 303, "without a token there is nothing to log in to");
}

#[tokio::test]
async fn each_budget_stands_on_the_page_with_what_is_spent_and_each_worker_tells_its_day() {
    let setup = Setup::new().budget("alice", "soft = \"0.06\", hard = \"10\"").owner("bob", "222222222222");
    let mut ledger = TestLedger::default();
    let mut past = Past::default();
    past.begin(&worker("w1"), 0);
    past.now += TimeDelta::hours(1);
    ledger.append(&past.entries).expect("appends");
    let looked = page_of(&setup, ledger, Clock::starting_at(past.now), None).await;
    let status = looked.get("/v1/status").await.json();
    let (budget, today) = (&status["budgets"][0], &status["workers"][0]["cost_today"]["high"]);
    let spent = budget["spent"]["high"].as_u64().expect("an amount");
    assert!(spent > 100_000 && budget["owner"] == "alice" && today.as_u64() == Some(spent), "{status}");
    let fleet = looked.get("/").await.body;
    for said in ["id=\"budgets\" aria-labelledby=\"h-budgets\">", "soft amount reached", "<dt>hard</dt><dd>$10.00</dd>"]
    {
        assert!(fleet.contains(said), "{said}: {fleet}");
    }
    assert!(fleet.contains("aria-label=\"alice in 2026-") && fleet.contains(" % of the hard amount\""), "{fleet}");
    assert!(fleet.contains("class=\"b-spent\"") && fleet.contains("class=\"b-hard\""), "{fleet}");
    assert!(fleet.contains("<bdi>alice: soft amount reached"), "what needs an eye: {fleet}");
    assert!(!fleet.contains("<h3>bob"), "who has no budget has no bar");
    assert!(fleet.contains("<dt>today</dt><dd><bdi>$0.1") && fleet.contains("<span>today</span>"), "{fleet}");
    let without = page(None).await.get("/").await.body;
    assert!(without.contains("aria-labelledby=\"h-budgets\" hidden>"), "{without}");
}

#[tokio::test]
async fn prometheus_reads_its_numbers_here_and_shows_the_token_where_there_is_one() {
    let open = page(None).await;
    open.listed().await;
    let answer = open.get("/metrics").await;
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(answer.status == 200 && kind.starts_with("application/openmetrics-text"), "{}", answer.head);
    assert!(answer.body.contains("latent_workers") && answer.body.ends_with("# EOF\n"), "{}", answer.body);
    let renamed = open.ask("GET", "/metrics", "host: evil.example\r\n", "").await;
    assert_eq!((renamed.status, open.ask("POST", "/metrics", "", "").await.status), (421, 405));
    let locked = page(Some(TOKEN)).await;
    for head in ["", "authorization: Bearer wrong\r\n"] {
        let answer = locked.ask("GET", "/metrics", head, "").await;
        assert!(answer.status == 401 && !answer.body.contains("latent_workers"), "{head}: {}", answer.body);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"latent\""));
    }
    let known = format!("authorization: Bearer {TOKEN}\r\n");
    let answer = locked.ask("GET", "/metrics", &known, "").await;
    assert!(answer.status == 200 && answer.body.contains("latent_workers"), "{}", answer.body);
}

/// What a stream says until `wanted` stands in it.
async fn hear(stream: &mut TcpStream, wanted: &str) -> String {
    let mut heard = String::new();
    let listening = async {
        let mut bytes = [0; 4096];
        while !heard.contains(wanted) {
            let number = stream.read(&mut bytes).await.expect("goes on");
            assert!(number > 0, "ended without {wanted}: {heard}");
            heard.push_str(&String::from_utf8_lossy(&bytes[..number]));
        }
    };
    tokio::time::timeout(SOON, listening).await.unwrap_or_else(|_| panic!("no {wanted}"));
    heard
}

async fn listen(looked: &Looked, path: &str, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(looked.at).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost:{}\r\n{head}\r\n", looked.at.port());
    stream.write_all(request.as_bytes()).await.expect("is sent");
    stream
}

#[tokio::test]
async fn entries_come_as_they_are_written_and_go_on_where_a_browser_was_cut_off() {
    let looked = page(None).await;
    looked.listed().await;
    let mut stream = listen(&looked, "/events", "").await;
    let head = hear(&mut stream, "retry: 3000").await;
    assert!(head.contains("200 OK") && head.contains("text/event-stream"), "{head}");
    looked.controller.request(&Actor::Operator, &worker("w1"), &"r1".parse().expect("an id")).expect("asks");
    let heard = hear(&mut stream, "launched i-").await;
    assert!(
        heard.contains("event: entry") && heard.contains("\"worker\":\"w1\"") && heard.contains("requested (r1)"),
        "{heard}"
    );
    drop(stream);
    let requested = looked
        .ledger
        .read(0, 99)
        .expect("reads")
        .iter()
        .find(|e| matches!(e.body, Body::Requested { .. }))
        .expect("it is there")
        .seq;
    let mut again = listen(&looked, "/events?after=0", &format!("last-event-id: {requested}\r\n")).await;
    let heard = hear(&mut again, "launched i-").await;
    assert!(
        !heard.contains("requested (r1)") && heard.contains("launching ami-debian"),
        "after what it had seen: {heard}"
    );
    let mut all = listen(&looked, "/events?after=0", "").await;
    assert!(hear(&mut all, "launched i-").await.contains("id: 1\n"));
    looked.stop.send_replace(true);
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, all.read_to_end(&mut rest))
        .await
        .expect("ends with the controller")
        .expect("in good order");
}

#[tokio::test]
async fn who_was_away_for_long_is_told_how_much_it_missed() {
    let mut ledger = TestLedger::default();
    let mut past = Past::default();
    (0..60).for_each(|number| past.round(&worker("w1"), number));
    ledger.append(&past.entries).expect("appends");
    let looked = page_of(&Setup::new(), ledger, Clock::starting_at(past.now), None).await;
    let mut stream = listen(&looked, "/events?after=3", "").await;
    let heard = hear(&mut stream, "controller 0").await;
    assert!(heard.contains("event: gap") && heard.contains("\"missed\":"), "{heard}");
    assert_eq!(heard.matches("event: entry").count(), 200, "{heard}");
}

#[tokio::test]
async fn so_many_browsers_are_kept_up_to_date_and_no_more() {
    let looked = page(None).await;
    let mut all = Vec::new();
    for _ in 0..24 {
        let mut stream = listen(&looked, "/events", "").await;
        hear(&mut stream, "retry").await;
        all.push(stream);
    }
    let refused = looked.get("/events").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    assert_eq!(looked.get("/").await.status, 200, "the page itself is there for everybody");
    all.pop();
    let freed = async { while looked.ask("HEAD", "/events", "", "").await.status == 503 {} };
    tokio::time::timeout(SOON, freed).await.expect("a place becomes free");
}

#[tokio::test]
async fn what_others_say_is_text_and_nothing_else() {
    let mut ledger = TestLedger::default();
    let mut past = Past::default();
    let message =
        "</bdi></p><script>alert(1)</script><img src=x onerror=\"alert(2)\">&quot;'\u{202e}\u{1b}[31m".to_owned();
    past.note(Body::Requested { worker: worker("w1"), request: "r1".parse().expect("an id") });
    let failure = Failure {
        phase: Phase::Launch,
        kind: FailureKind::Owner,
        code: "<b>Code</b>".to_owned(),
        message: message.clone(),
        console: Some(format!("first\n{message}")),
    };
    past.note(Body::RequestFailed { worker: worker("w1"), failure });
    ledger.append(&past.entries).expect("appends");
    let looked = page_of(&Setup::new(), ledger, Clock::starting_at(past.now), None).await;
    looked.listed().await;
    for path in [
        "/",
        "/workers/w1",
        "/?q=%3Cscript%3Ealert(1)%3C/script%3E&page=%3Cb%3E",
        "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
    ] {
        let answer = looked.get(path).await;
        let text = &answer.body;
        assert!(
            !text.contains("<script>alert") && !text.contains("<img") && !text.contains("<b>Code"),
            "{path}: {text}"
        );
        assert!(!text.contains(['\u{202e}', '\u{1b}']), "{path}");
    }
    let fleet = looked.get("/").await.body;
    assert!(fleet.contains("One thing needs an eye") && fleet.contains("what to do:"), "{fleet}");
    assert!(looked.get("/workers/w1").await.body.contains("The last lines of its console"));
    let mut stream = listen(&looked, "/events?after=0", "").await;
    let heard = hear(&mut stream, "request failed").await;
    assert!(!heard.contains(['\u{202e}', '\u{1b}']), "{heard}");
}

#[tokio::test]
async fn it_is_ready_when_it_can_write_and_has_seen_every_account() {
    let ledger = TestLedger::default();
    let looked = page_of(&Setup::new(), ledger.clone(), Clock::system(), None).await;
    looked.listed().await;
    let answer = looked.get("/readyz").await;
    assert_eq!((answer.status, answer.json()["ready"].as_bool()), (200, Some(true)));
    assert_eq!(answer.json()["cells"][0]["owner"], "alice");
    assert_eq!(looked.get("/v1/health").await.json()["reasons"], serde_json::json!([]));
    assert_eq!(looked.get("/healthz").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn it_is_not_ready_while_the_ledger_cannot_be_written_or_an_account_is_not_seen() {
    let ledger = TestLedger::default();
    let clock = Clock::system();
    let controller = controller_that_sees_nothing(ledger.clone(), &clock);
    let health = controller.health();
    assert_eq!(health.reasons, ["alice/us-west-2 was not listed since the controller started"]);
    ledger.fail(LedgerFaults { write: true, read: false });
    assert_eq!(controller.health().reasons.len(), 1, "what was found out is good for a moment");
    clock.sleep_until(clock.now() + TimeDelta::seconds(6)).await;
    let reasons = controller.health().reasons;
    assert!(reasons[0].starts_with("the ledger test cannot be written: the test says so"), "{reasons:?}");
    ledger.fail(LedgerFaults::default());
    clock.sleep_until(clock.now() + TimeDelta::seconds(6)).await;
    assert_eq!(controller.health().reasons.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_seen_once_must_be_seen_again() {
    let clock = Clock::system();
    let world = Arc::new(Mutex::new(World::steady()));
    let controller = controller_in(&world, TestLedger::default(), &clock);
    clock.sleep_until(clock.now() + TimeDelta::seconds(30)).await;
    assert_eq!(controller.health().reasons, Vec::<String>::new());
    let hang = latent::sim::Mishap::LoseRequest;
    world.lock().expect("whole").inject(Some("DescribeInstances"), None, hang, 10_000);
    clock.sleep_until(clock.now() + TimeDelta::minutes(10)).await;
    let health = controller.health();
    assert!(!health.ready && health.reasons[0].contains("s ago, and 300 s are the limit"), "{:?}", health.reasons);
}

fn controller_in(world: &Arc<Mutex<World>>, ledger: TestLedger, clock: &Clock) -> Controller<TestLedger> {
    let (world, time) = (Arc::clone(world), clock.clone());
    let connect = move |_: &Cell, _: &_| {
        SimCloud::new(Arc::clone(&world), SiteId::new("111111111111", "us-west-2"), None, time.clone())
    };
    Controller::start(Setup::new().intent(), ledger, clock.clone(), 1, connect).expect("starts")
}

fn controller_that_sees_nothing(ledger: TestLedger, clock: &Clock) -> Controller<TestLedger> {
    let world = Arc::new(Mutex::new(World::steady()));
    let hang = latent::sim::Mishap::Hang;
    world.lock().expect("whole").inject(None, None, hang, 10_000);
    controller_in(&world, ledger, clock)
}

/// What a ledger says of earlier times.
struct Past {
    entries: Vec<Entry>,
    now: DateTime<Utc>,
}

impl Default for Past {
    fn default() -> Self {
        Self { entries: Vec::new(), now: crate::harness::morning() }
    }
}

impl Past {
    fn note(&mut self, body: Body) {
        let seq = u64::try_from(self.entries.len()).expect("few") + 1;
        self.entries.push(Entry { seq, at: self.now, actor: Actor::Controller, body });
    }

    /// An instance that is found running.
    fn begin(&mut self, name: &WorkerName, number: usize) -> (InstanceId, Cell) {
        let instance: InstanceId = format!("i-{name}{number}").parse().expect("an id");
        let cell = Cell { owner: "alice".parse().expect("a name"), region: "us-west-2".parse().expect("a region") };
        let attempt = Attempt {
            id: format!("a-{name}-{number}").parse().expect("an id"),
            cell: cell.clone(),
            image: "debian".parse().expect("an image"),
            created: self.now,
            spec: None,
        };
        let seen = Sight {
            state: Some(InstanceState::Running),
            instance_type: Some("m7i.large".to_owned()),
            market: Some(Market::OnDemand),
            zone: Some("us-west-2a".parse().expect("a zone")),
            launch_time: Some(self.now),
            ..Sight::default()
        };
        let (attempt, seen) = (Box::new(attempt), Some(Box::new(seen)));
        self.note(Body::Adopted { worker: name.clone(), attempt, instance: instance.clone(), seen });
        (instance, cell)
    }

    /// An instance that builds twice and ends, within ten minutes.
    fn round(&mut self, name: &WorkerName, number: usize) {
        let (instance, cell) = self.begin(name, number);
        let (worker, build) = (name.clone(), format!("b/{number}").parse().expect("a build"));
        let then = |past: &mut Self, seconds: i64, body: Body| {
            past.now += TimeDelta::seconds(seconds);
            past.note(body);
        };
        then(self, 60, Body::Attached { worker: worker.clone() });
        then(self, 1, Body::BuildStarted { worker: worker.clone(), build });
        then(self, 300, Body::BuildFinished { worker: worker.clone() });
        let (worker, cause, seen, silent_since) = (Some(worker), Cause::Idle, None, None);
        let end = Body::TerminateIntended { instance: instance.clone(), cell, worker, cause, seen, silent_since };
        then(self, 120, end);
        then(self, 30, Body::Departed { instance, ended_at: None, ran_until: None, seen: None });
    }
}

#[tokio::test]
async fn a_busy_fleet_of_a_thousand_workers_is_a_page_that_can_be_read() {
    let names: Vec<String> = (1..=1000).map(|number| format!("w{number:04}")).collect();
    let setup = names.iter().fold(Setup::new().without_worker("w1"), |setup, name| {
        setup.image(name, "alice", "us-west-2", "").worker(name, name)
    });
    let mut past = Past::default();
    let begin = past.now;
    for name in &names {
        past.now = begin;
        (0..20).for_each(|number| past.round(&worker(name), number));
    }
    let end = past.now + TimeDelta::minutes(5);
    past.entries.sort_by_key(|entry| entry.at);
    (1..).zip(&mut past.entries).for_each(|(seq, entry)| entry.seq = seq);
    let mut ledger = TestLedger::default();
    ledger.append(&past.entries).expect("appends");
    let looked = page_of(&setup, ledger, Clock::starting_at(end), None).await;
    let fleet = looked.get("/").await;
    assert!(fleet.status == 200 && fleet.body.len() < 1 << 20, "{} bytes", fleet.body.len());
    assert_eq!(fleet.body.matches("class=\"worker\"").count(), 100);
    assert!(fleet.body.contains("1–100 of 1000") && fleet.body.contains("busy 1h40m"), "{}", fleet.body);
    let last = looked.get("/?page=10").await.body;
    assert!(last.contains("901–1000 of 1000") && last.contains("id=\"w-w1000\"") && !last.contains("rel=\"next\""));
    assert!(looked.get("/?page=99999").await.body.contains("901–1000 of 1000"));
    let found = looked.get("/?q=W077").await.body;
    assert!(found.contains("1–10 of 10") && found.contains("id=\"w-w0777\""), "{found}");
    assert!(looked.get("/?q=nobody").await.body.contains("No worker has"));
    let day = looked.get("/v1/day").await.json();
    assert_eq!(
        (day["workers"].as_array().map(Vec::len), day["workers"][999]["builds"].as_u64()),
        (Some(1000), Some(20))
    );
    let one = looked.get("/v1/workers/w0500/day").await.json();
    assert_eq!((one["worker"]["worker"].as_str(), one["events"].as_array().map(Vec::len)), (Some("w0500"), Some(50)));
    assert_eq!(one["events"][0]["kind"], "departed", "the last one first, by its instance alone");
}
