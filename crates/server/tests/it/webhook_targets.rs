//! Where webhooks are never sent: hostile URLs, names that lead inside, names that change their answer, redirects; and
//! receivers that lie, hang, break off and never end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longtake::clock::SystemClock;
use longtake::guard::Guard;
use longtake::http::network::Network;
use longtake::webhooks::WebhookClient;
use longtake::webhooks::client::Message;
use longtake_core::webhook::{Answer, Sent, Try};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A receiver that counts connections and says `answer`, or nothing.
struct Receiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start(answer: &'static [u8], then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut request = [0; 4_096];
                    let _some = stream.read(&mut request).await;
                    let _sent = stream.write_all(answer).await;
                    match then {
                        Then::Close => {}
                        Then::Hold => std::future::pending().await,
                        Then::Pour => while stream.write_all(&[b'x'; 4_096]).await.is_ok() {},
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Hold,
    Pour,
}

fn loopback() -> Vec<Network> {
    vec!["127.0.0.0/8".parse().unwrap()]
}

fn message() -> Message {
    let secrets = vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()];
    Message { id: "evt_1".into(), body: b"{}".to_vec(), secrets, headers: std::collections::BTreeMap::new() }
}

async fn post(client: &WebhookClient, url: &str) -> Sent {
    client.post(&SystemClock, url, message()).await
}

const FAILED: Answer = Answer::Failed { retry_after: None };

/// What an attacker writes where a public URL is expected, by what it tries.
const HOSTILE: [&str; 63] = [
    // Loopback, in every dress.
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://127.255.255.254/",
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://0.0.0.0/",
    "https://0/",
    "https://%31%32%37.0.0.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    // Private, shared, link-local, metadata.
    "https://10.0.0.1/",
    "https://10.1/",
    "https://172.16.5.4/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://3232235521/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://0xa9fea9fe/",
    "https://2852039166/",
    "https://[fe80::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://198.18.0.1/",
    "https://192.0.2.1/",
    "https://[2001:db8::1]/",
    "https://[ff02::1]/",
    // Other schemes, users, line breaks, nonsense.
    "http://93.184.216.34/",
    "file:///etc/passwd",
    "ftp://93.184.216.34/",
    "gopher://93.184.216.34/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "unix:/var/run/docker.sock",
    "https://user@93.184.216.34/",
    "https://user:password@93.184.216.34/",
    "https://93.184.216.34@127.0.0.1/",
    "https://93.184.216.34/\r\nX-Injected: yes",
    "https://93.184.216.34/a\nb",
    "https://93.184.216.34/a b",
    "ht\ttps://93.184.216.34/",
    "https://93.184.216.34/#fragment",
    "https://93.184.216.34:0/",
    "https://93.184.216.34:99999/",
    "https://",
    "//93.184.216.34/",
];

#[tokio::test]
async fn hostile_urls_are_refused_before_a_byte_is_sent() {
    let strict = WebhookClient::new(Vec::new(), false).unwrap();
    for url in HOSTILE {
        assert!(strict.check_url(url).is_err(), "{url} is taken");
        let sent = post(&strict, url).await;
        assert_eq!((sent.answer, sent.status), (FAILED, None), "{url}");
        assert!(sent.words.starts_with("not sent"), "{url}: {}", sent.words);
    }
    for url in ["https://93.184.216.34/", "https://example.com:8443/hook?a=b", "https://[2606:4700::1111]/"] {
        assert!(strict.check_url(url).is_ok(), "{url}");
    }
    assert!(strict.check_url(&format!("https://example.com/{}", "a".repeat(3_000))).is_err());
}

#[tokio::test]
async fn names_are_looked_at_when_they_are_connected_to() {
    let receiver = Receiver::start(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::Close).await;
    let port = receiver.address.port();
    // The system's own name for loopback.
    let strict = WebhookClient::new(Vec::new(), true).unwrap();
    let sent = post(&strict, &format!("http://localhost:{port}/")).await;
    assert!(sent.words.starts_with("not sent"), "{}", sent.words);
    // A name that is public when it is checked, and not when it is connected to.
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let names = Arc::new(move |name: &str| {
        assert_eq!(name, "rebinding.example");
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let address: IpAddr = if first { [93, 184, 216, 34].into() } else { [127, 0, 0, 1].into() };
        vec![address]
    });
    let guard = Guard::new(Vec::new()).with_names(names);
    let rebound = WebhookClient::guarded(guard.clone(), true).unwrap();
    assert!(guard.admits([93, 184, 216, 34].into()));
    asked.store(1, Ordering::SeqCst);
    for _ in 0..3 {
        let sent = post(&rebound, &format!("http://rebinding.example:{port}/")).await;
        assert_eq!((sent.answer, sent.status), (FAILED, None));
        assert!(sent.words.starts_with("not sent"), "{}", sent.words);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4, "each connection asks anew");
    // A name with a public and a private address leads to the public one only.
    let mixed =
        Guard::new(Vec::new()).with_names(Arc::new(|_: &str| vec![[127, 0, 0, 1].into(), [10, 0, 0, 1].into()]));
    let sent = post(&WebhookClient::guarded(mixed, true).unwrap(), &format!("http://mixed.example:{port}/")).await;
    assert!(sent.words.starts_with("not sent"), "{}", sent.words);
    assert_eq!(receiver.connections(), 0, "no byte was sent inside");
    // What the operator allows is reached by name.
    let allowed = Guard::new(loopback()).with_names(Arc::new(|_: &str| vec![[127, 0, 0, 1].into()]));
    let sent = post(&WebhookClient::guarded(allowed, true).unwrap(), &format!("http://inside.example:{port}/")).await;
    assert_eq!((sent.answer, sent.status), (Answer::Taken, Some(200)));
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn redirects_are_failures_and_are_not_followed() {
    let inside = Receiver::start(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::Close).await;
    let location = format!("HTTP/1.1 302 Found\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n", inside.address);
    let redirecting = Receiver::start(Box::leak(location.into_boxed_str()).as_bytes(), Then::Close).await;
    let client = WebhookClient::new(loopback(), true).unwrap();
    let sent = post(&client, &format!("http://{}/", redirecting.address)).await;
    assert_eq!((sent.answer, sent.status), (FAILED, Some(302)));
    assert_eq!((redirecting.connections(), inside.connections()), (1, 0));
}

#[tokio::test]
async fn what_receivers_answer_is_told_apart() {
    let client = WebhookClient::new(loopback(), true).unwrap();
    let wait = Answer::Failed { retry_after: Some(Duration::from_secs(7)) };
    let longest = Answer::Failed { retry_after: Some(Duration::from_secs(6 * 3_600)) };
    for (answer, then, expected, status, words) in [
        (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], Then::Close, Answer::Taken, Some(204), ""),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 4\r\n\r\nbye!", Then::Close, Answer::Gone, Some(410), "bye!"),
        (b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\noops", Then::Close, FAILED, Some(500), "oops"),
        (b"HTTP/1.1 503 No\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n", Then::Close, wait, Some(503), ""),
        (b"HTTP/1.1 503 No\r\nretry-after: 9999999\r\ncontent-length: 0\r\n\r\n", Then::Close, longest, Some(503), ""),
        (b"HTTP/1.1 404 No\r\nretry-after: soon\r\ncontent-length: 0\r\n\r\n", Then::Close, FAILED, Some(404), ""),
        (b"", Then::Close, FAILED, None, "the receiver broke off before it answered"),
        (b"HTTP/1.1 20", Then::Close, FAILED, None, "the receiver broke off before it answered"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Then::Close, FAILED, None, "the receiver broke off before it answered"),
        // A body that never comes changes nothing of what the status said.
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", Then::Hold, Answer::Taken, Some(200), ""),
    ] {
        let receiver = Receiver::start(answer, then).await;
        let sent = post(&client, &format!("http://{}/hook", receiver.address)).await;
        let shown = String::from_utf8_lossy(answer);
        assert_eq!((sent.answer, sent.status, &*sent.words), (expected, status, words), "{shown}");
        assert_eq!(receiver.connections(), 1, "{shown}: one try is one request");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_short() {
    let client = WebhookClient::new(loopback(), true).unwrap();
    let receiver = Receiver::start(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", Then::Pour).await;
    let sent = post(&client, &format!("http://{}/", receiver.address)).await;
    assert_eq!((sent.answer, sent.status), (Answer::Taken, Some(200)));
    assert_eq!(sent.words.len(), Try::MAX_ANSWER_BYTES);
    // What is no text stays within the bound as well.
    let junk: &'static [u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\xff\xfe\x00\xff";
    let receiver = Receiver::start(junk, Then::Close).await;
    let sent = post(&client, &format!("http://{}/", receiver.address)).await;
    assert_eq!(&*sent.words, "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
}

#[tokio::test]
async fn nothing_listening_is_a_failure() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sent = post(&WebhookClient::new(loopback(), true).unwrap(), &format!("http://{free}/")).await;
    assert_eq!((sent.answer, sent.status), (FAILED, None));
    assert!(sent.words.starts_with("the receiver could not be connected to: Connection refused"), "{}", sent.words);
}
