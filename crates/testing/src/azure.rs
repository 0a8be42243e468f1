//! Azure Blob Storage on a folder of its own: Azurite, the official emulator, as a process.
//!
//! It checks every signature, also those of links and their age. What is asked past the tested client is asked with a
//! signature of the whole account, made here. Absent: roles and other identities than the account's key, and the
//! parameter `startFrom` of a listing, which it passes over: every list begins at the beginning.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::kept::{BOUND, Kept};

/// Overrides the search for the program.
const PROGRAM_VARIABLE: &str = "LONGTAKE_TEST_AZURITE";
/// Where `cargo xtask setup` puts it.
const PROGRAM: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/azurite/node_modules/azurite/dist/src/blob/main.js");

/// The container that is there from the beginning.
pub const CONTAINER: &str = "longtake-videos";
/// The only account; every emulator has it.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key, which is in the emulator's manual: no secret.
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What an account's signature allows: to read, write, delete, list, add and create, in containers and blobs.
const PERMISSIONS: &str = "rwdlac";
const EXPIRY: &str = "2099-01-01T00:00:00Z";
const VERSION: &str = "2020-12-06";

/// A running server; dropping it stops it and removes what it kept.
#[derive(Debug)]
pub struct TestAzure {
    server: Kept,
}

impl TestAzure {
    /// Starts a server with one empty container on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where the program is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let program = program();
        // Asked to end, it waits for connections that its clients keep.
        let server = Kept::start(
            "azure",
            "KILL",
            |_| (),
            |command, folder, address| {
                command.arg("node").arg(&program).args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
                command.args(["--blobHost", &address.ip().to_string(), "--blobPort", &address.port().to_string()]);
                command.arg("--location").arg(folder);
            },
        );
        let azure = Self { server };
        azure.asked("PUT", "?restype=container", "", b"", 201);
        azure
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its endpoint; a container is the segment after the account.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.address())
    }

    /// The keys of all objects of the container, sorted; up to the 5,000 of one answer.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let list = self.asked("GET", "?restype=container&comp=list", "", b"", 200);
        let mut keys = texts(&String::from_utf8_lossy(&list), "Name");
        keys.sort_unstable();
        keys
    }

    /// The bytes of an object, past the tested client.
    ///
    /// # Panics
    /// Where there is no such object.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Vec<u8> {
        self.asked("GET", &format!("/{key}"), "", b"", 200)
    }

    /// Puts a file of somebody else into the container.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.asked("PUT", &format!("/{key}"), "x-ms-blob-type: BlockBlob\r\n", bytes, 201);
    }

    /// Blocks under this key that no object was made of.
    #[must_use]
    pub fn parts(&self, key: &str) -> usize {
        let target = format!("/{key}?comp=blocklist&blocklisttype=uncommitted");
        match self.ask("GET", &target, "", b"") {
            (404, _) => 0,
            (_, list) => texts(&String::from_utf8_lossy(&list), "Size").len(),
        }
    }

    /// The body of the answer that was expected.
    fn asked(&self, method: &str, target: &str, headers: &str, body: &[u8], expected: u16) -> Vec<u8> {
        let (status, answer) = self.ask(method, target, headers, body);
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(status, expected, "{method} {target}: {text}\n{}", self.server.log());
        answer
    }

    /// One request on a connection of its own. The older protocol has no answers in chunks.
    fn ask(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mark = if target.contains('?') { '&' } else { '?' };
        let head = format!(
            "{method} /{ACCOUNT}/{CONTAINER}{target}{mark}{} HTTP/1.0\r\nhost: {}\r\nx-ms-version: {VERSION}\r\n{headers}content-length: {}\r\n\r\n",
            signature(),
            self.address(),
            body.len()
        );
        let mut stream = TcpStream::connect_timeout(&self.address(), BOUND).expect("the server accepts connections");
        stream.set_read_timeout(Some(BOUND)).expect("a socket has a time limit");
        stream.write_all(&[head.as_bytes(), body].concat()).expect("a request can be sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer ends");
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer has a head");
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
        (status, body)
    }
}

/// A query that lets a request do everything in the account.
fn signature() -> String {
    let text = format!("{ACCOUNT}\n{PERMISSIONS}\nb\nsco\n\n{EXPIRY}\n\n\n{VERSION}\n\n");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(ACCOUNT_KEY).expect("the key is base64"));
    let sum = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    let sum = sum.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("sv={VERSION}&ss=b&srt=sco&sp={PERMISSIONS}&se={EXPIRY}&sig={sum}")
}

/// The texts of all elements of this name; those that are asked for have no escapes.
fn texts(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let inner = xml.split(open.as_str()).skip(1).filter_map(|rest| rest.split(close.as_str()).next());
    inner.map(str::to_owned).collect()
}

fn program() -> PathBuf {
    let told = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
    let program = told.unwrap_or_else(|| PathBuf::from(PROGRAM));
    assert!(program.is_file(), "there is no {}, the Azure of the tests: run cargo xtask setup", program.display());
    program
}
