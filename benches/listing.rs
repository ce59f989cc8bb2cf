//! What the listing of a cell takes to be read: from the pages of EC2's answer, through the SDK, to the inventory.
//!
//! `cargo bench --bench listing`. The pages come from memory over a connection on this machine, as often as they are
//! asked for.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use latent::cloud::Cloud as _;
use latent::ec2::Ec2;
use latent::model::Cell;
use latent::policy::{Intent, Sources};
use tokio::runtime::Runtime;

/// An instance as `DescribeInstances` shows it, for each `ID` another id.
const INSTANCE: &str = include_str!("listing/instance.xml");
/// As many as EC2 gives at once.
const A_PAGE: usize = 1_000;

/// The pages of a listing.
struct Pages(Vec<String>);

impl Pages {
    fn of(instances: usize) -> Self {
        let pages = instances / A_PAGE;
        Self((0..pages).map(|page| Self::one(page, pages)).collect())
    }

    fn one(page: usize, pages: usize) -> String {
        let first = page * A_PAGE;
        let items: String =
            (first..first + A_PAGE).map(|number| INSTANCE.replace("ID", &format!("{number:017x}"))).collect();
        let more = page + 1 < pages;
        let next = if more { format!("<nextToken>{}</nextToken>", page + 1) } else { String::new() };
        format!(
            "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>\
             <reservationSet>{items}</reservationSet>{next}</DescribeInstancesResponse>"
        )
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(String::len).sum()
    }

    /// Answers whatever is asked, until the process ends.
    fn serve(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let pages = Arc::new(self);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let pages = Arc::clone(&pages);
                std::thread::spawn(move || pages.answer(&connection));
            }
        });
        address
    }

    /// The page that each request names, until the connection ends.
    fn answer(&self, mut connection: &TcpStream) -> io::Result<()> {
        let mut questions = BufReader::new(connection);
        while let Some(asked) = body(&mut questions)? {
            let named = asked.split('&').find_map(|pair| pair.strip_prefix("NextToken="));
            let page = named.map_or(0, |text| text.parse().unwrap_or_default());
            let text = &self.0[page];
            write!(connection, "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n", text.len())?;
            connection.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}

/// The body of the next request; `None` at the end of the connection.
fn body(questions: &mut BufReader<&TcpStream>) -> io::Result<Option<String>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if questions.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut text = vec![0; length];
    questions.read_exact(&mut text)?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// One cell whose EC2 is there, with made-up keys.
fn cloud(at: SocketAddr, keys: &std::path::Path) -> Ec2 {
    let main = format!(
        "[fleet]\nname = \"bench\"\ncontroller = \"ctl\"\n[owner.o]\naccount = \"123456789012\"\n\
         credentials = {{ key_file = \"{}\" }}\nendpoint = \"http://{at}\"\n",
        keys.display()
    );
    let sources = Sources { main: ("latent.toml".to_owned(), main), ..Sources::default() };
    let intent = Intent::parse(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    let cell = Cell { owner: "o".parse().expect("a name"), region: "us-west-2".parse().expect("a region") };
    Ec2::new(&cell, &intent)
}

#[divan::bench(args = [1_000, 10_000], sample_count = 20, sample_size = 1)]
fn inventory(bencher: Bencher<'_, '_>, instances: usize) {
    let pages = Pages::of(instances);
    let bytes = pages.bytes();
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "AKIAEXAMPLE\nemulated\n").expect("is written");
    let runtime = Runtime::new().expect("a runtime");
    let cloud = cloud(pages.serve(), &keys);
    let now: DateTime<Utc> = "2026-03-02T08:00:00Z".parse().expect("a time");
    bencher.counter(ItemsCount::new(instances)).counter(BytesCount::new(bytes)).bench_local(|| {
        let listed = runtime.block_on(cloud.inventory(now, &[])).expect("is listed");
        assert_eq!(listed.instances.len(), instances);
        black_box(listed)
    });
}

fn main() {
    divan::main();
}
