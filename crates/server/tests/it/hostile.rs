//! Hostile and clumsy requests, byte for byte: each has exactly one answer, in the envelope, and the server lives on.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{Server, png, tiny};

/// Longest wait for an answer.
const BOUND: Duration = Duration::from_secs(30);

/// Sends bytes as they are; the first whole answer, or what came until the server closed.
pub async fn raw(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading =
        async { while !is_whole(&answer) && stream.read_buf(&mut answer).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(BOUND, reading).await.unwrap();
    answer
}

/// Whether the head and as many bytes as it announces are there.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= head.len() + 4 + length)
}

/// Status and `error.code`; an empty code where the body is none of ours.
pub fn parse(answer: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(answer);
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

struct Case {
    what: String,
    request: Vec<u8>,
    status: u16,
    code: &'static str,
}

/// A request with the admin key.
fn request(server: &Server, line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let key = &server.admin_key;
    let mut bytes = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

struct Cases<'a> {
    server: &'a Server,
    all: Vec<Case>,
}

impl Cases<'_> {
    fn add(&mut self, line: &str, headers: &str, body: impl AsRef<[u8]>, status: u16, code: &'static str) {
        let request = request(self.server, line, headers, body.as_ref());
        let mut shown = String::from_utf8_lossy(body.as_ref()).into_owned();
        shown.truncate(shown.char_indices().nth(120).map_or(shown.len(), |(end, _)| end));
        self.all.push(Case { what: format!("{line} {headers} {shown}"), request, status, code });
    }

    fn get(&mut self, path: &str, status: u16, code: &'static str) {
        self.add(&format!("GET {path}"), "", "", status, code);
    }

    fn create(&mut self, body: impl AsRef<[u8]>, status: u16, code: &'static str) {
        self.add("POST /v1/videos", "content-type: application/json\r\n", body, status, code);
    }

    fn form(&mut self, body: impl AsRef<[u8]>, status: u16, code: &'static str) {
        self.add("POST /v1/videos", "content-type: multipart/form-data; boundary=B\r\n", body, status, code);
    }
}

fn part(name: &str, value: &str) -> String {
    format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// A body with a prompt and this member.
fn with(member: &str) -> String {
    format!(r#"{{"prompt":"x",{member}}}"#)
}

fn create_members(cases: &mut Cases<'_>) {
    cases.create("", 400, "invalid_json");
    cases.create("null", 400, "invalid_type");
    cases.create("[1,2]", 400, "invalid_type");
    cases.create("\"prompt\"", 400, "invalid_type");
    cases.create("{\"prompt\":\"x\"", 400, "invalid_json");
    cases.create("{\"prompt\":\"x\"} trailing", 400, "invalid_json");
    cases.create(b"{\"prompt\":\"\xff\xfe\"}", 400, "invalid_json");
    cases.create(r#"{"prompt":"\ud800"}"#, 400, "invalid_json");
    cases.create("[".repeat(10_000), 400, "invalid_json");
    cases.create(format!("{{\"prompt\":{}1{}}}", "[".repeat(100), "]".repeat(100)), 400, "invalid_type");
    cases.create("{}", 400, "missing_parameter");
    cases.create(r#"{"prompt":null}"#, 400, "missing_parameter");
    cases.create(r#"{"prompt":""}"#, 400, "prompt_blank");
    cases.create("{\"prompt\":\" \\t\\n\u{a0}\u{2003}\"}", 400, "prompt_blank");
    cases.create(r#"{"prompt":"a\u0000b"}"#, 400, "prompt_has_nul");
    cases.create(format!(r#"{{"prompt":"{}"}}"#, "x".repeat(32_001)), 400, "prompt_too_long");
    cases.create(format!(r#"{{"prompt":"{}"}}"#, "🎬".repeat(32_001)), 400, "prompt_too_long");
    cases.create(r#"{"prompt":["x"]}"#, 400, "invalid_type");
    cases.create(r#"{"prompt":1e400}"#, 400, "invalid_json");
    cases.create(r#"{"prompt":"x","prompt":"x"}"#, 400, "repeated_parameter");
    cases.create(r#"{"prompt":"x","\u0070rompt":"y"}"#, 400, "repeated_parameter");
    cases.create(with(r#""metadata":{"a":"1","a":"2"}"#), 400, "repeated_parameter");
    cases.create(with(r#""n":1"#), 400, "unknown_parameter");
    cases.create(with(r#""Prompt":"y""#), 400, "unknown_parameter");
    cases.create(with(r#""__proto__":{}"#), 400, "unknown_parameter");
    cases.create(with(r#""webhook_url":"http://127.0.0.1/""#), 400, "webhook_url_refused");
    cases.create(with(r#""webhook_url":["https://example.com"]"#), 400, "invalid_type");
    for limit in ["0", "-1", "\"\"", "\"1e3\"", "0.0000001", "1e300", "1000001", "\"0x1\"", "\"1,5\""] {
        cases.create(with(&format!(r#""max_cost_usd":{limit}"#)), 400, "invalid_value");
    }
    cases.create(with(r#""max_cost_usd":[]"#), 400, "invalid_type");
    cases.create(with(r#""model":"sora-9""#), 400, "unknown_model");
    cases.create(with(r#""model":"""#), 400, "unknown_model");
    cases.create(with(r#""model":7"#), 400, "invalid_type");
}

fn create_shapes(cases: &mut Cases<'_>) {
    for (seconds, code) in [
        ("0", "invalid_value"),
        ("-1", "invalid_value"),
        ("1.5", "invalid_type"),
        ("\"4s\"", "invalid_value"),
        ("\"\"", "invalid_value"),
        ("\" 4\"", "invalid_value"),
        ("\"+4\"", "invalid_value"),
        ("\"٤\"", "invalid_value"),
        ("true", "invalid_type"),
        ("99999999999999999999", "invalid_type"),
        ("9007199254740993", "invalid_value"),
        ("3601", "invalid_value"),
        ("61", "unsupported_by_model"),
        ("\"18446744073709551617\"", "invalid_value"),
        ("{}", "invalid_type"),
    ] {
        cases.create(with(&format!("\"seconds\":{seconds}")), 400, code);
    }
    for (size, code) in [
        ("\"\"", "invalid_value"),
        ("\"1280\"", "invalid_value"),
        ("\"0x0\"", "invalid_value"),
        ("\"-1x5\"", "invalid_value"),
        ("\"99999999x2\"", "invalid_value"),
        ("\"1280X720\"", "invalid_value"),
        ("\"1280x720x3\"", "invalid_value"),
        ("\"63x63\"", "unsupported_by_model"),
        ("\"9998x9998\"", "unsupported_by_model"),
        ("[1280,720]", "invalid_type"),
    ] {
        cases.create(with(&format!("\"size\":{size}")), 400, code);
    }
}

fn create_extras(cases: &mut Cases<'_>) {
    let pairs: Vec<String> = (0..17).map(|n| format!("\"k{n}\":\"v\"")).collect();
    cases.create(with(&format!("\"metadata\":{{{}}}", pairs.join(","))), 400, "metadata_too_many");
    cases.create(with(&format!("\"metadata\":{{\"{}\":\"v\"}}", "k".repeat(65))), 400, "metadata_key_invalid");
    cases.create(with(r#""metadata":{"":"v"}"#), 400, "metadata_key_invalid");
    cases.create(with(&format!("\"metadata\":{{\"k\":\"{}\"}}", "v".repeat(513))), 400, "metadata_value_too_long");
    cases.create(with(r#""metadata":{"k":1}"#), 400, "invalid_type");
    cases.create(with(r#""metadata":{"k":null}"#), 400, "invalid_type");
    cases.create(with(r#""metadata":{"k":"a\u0000"}"#), 400, "invalid_value");
    cases.create(with(r#""metadata":"k=v""#), 400, "invalid_type");
    cases.create(with(r#""priority":101"#), 400, "invalid_value");
    cases.create(with(r#""priority":"1""#), 400, "invalid_type");
    cases.create(with(r#""deadline_seconds":0"#), 400, "invalid_value");
    cases.create(with(r#""deadline_seconds":99999999999"#), 400, "invalid_value");
    cases.create(with(r#""provider_options":{"fps":1000}"#), 400, "unsupported_by_model");
    cases.create(with(r#""provider_options":{"colour":"red"}"#), 400, "unsupported_by_model");
    cases.create(with(r#""provider_options":[]"#), 400, "invalid_type");
    cases.create(with(&format!("\"provider_options\":{{\"x\":\"{}\"}}", "x".repeat(20_000))), 400, "invalid_value");
}

fn create_inputs(cases: &mut Cases<'_>) {
    cases.create(with(r#""input_reference":"https://example.com/x.png""#), 400, "invalid_type");
    cases.create(with(r#""input_reference":{}"#), 400, "missing_parameter");
    cases.create(with(r#""input_reference":{"file_id":"f"}"#), 400, "unknown_file");
    cases.create(with(r#""input_reference":{"image_url":"x","mask":"y"}"#), 400, "unknown_parameter");
    cases.create(with(r#""input_reference":{"image_url":3}"#), 400, "invalid_type");
    cases.create(with(r#""input_reference":{"image_url":"not a url"}"#), 400, "invalid_value");
    cases.create(with(r#""input_reference":{"image_url":"data:image/png;base64,@@@"}"#), 400, "invalid_value");
    cases.create(with(r#""input_reference":{"image_url":"data:image/png,abc"}"#), 400, "invalid_value");
    cases.create(with(r#""input_reference":{"image_url":"data:image/png;base64,"}"#), 400, "input_image_invalid");
    cases.create(
        with(r#""input_reference":{"image_url":"data:image/png;base64,R0lGODlhAQABAAAAACw="}"#),
        400,
        "input_image_invalid",
    );
    cases.create(r#"{"prompt":"x [sandbox fail=nonsense]"}"#, 400, "unsupported_by_model");
}

fn create_forms(cases: &mut Cases<'_>) {
    let end = "--B--\r\n";
    cases.form("", 400, "invalid_multipart");
    cases.form("junk", 400, "invalid_multipart");
    cases.form(end, 400, "missing_parameter");
    cases.form(part("prompt", "x"), 400, "invalid_multipart");
    cases.form(format!("{}{}{end}", part("prompt", "x"), part("prompt", "y")), 400, "repeated_parameter");
    cases.form(format!("{}{}{end}", part("prompt", "x"), part("n", "1")), 400, "unknown_parameter");
    cases.form(format!("{}{}{end}", part("prompt", "x"), part("seconds", "four")), 400, "invalid_value");
    cases.form(format!("{}{}{end}", part("prompt", "x"), part("priority", "high")), 400, "invalid_type");
    cases.form(format!("{}{}{end}", part("prompt", "x"), part("provider_options", "{broken")), 400, "invalid_type");
    cases.form(
        format!("{}{}{end}", part("prompt", "x"), part("provider_options", r#"{"fps":5,"fps":6}"#)),
        400,
        "repeated_parameter",
    );
    cases.form(format!("{}{}{end}", part("prompt", "x"), part("metadata[a][b]", "1")), 400, "invalid_type");
    cases.form(
        format!("{}{}{}{end}", part("prompt", "x"), part("metadata[a]", "1"), part("metadata[a]", "2")),
        400,
        "repeated_parameter",
    );
    cases.form(
        format!("{}{}{}{end}", part("prompt", "x"), part("metadata", "{}"), part("metadata[a]", "2")),
        400,
        "repeated_parameter",
    );
    cases.form(format!("{}{end}", part("prompt[0]", "x")), 400, "invalid_type");
    cases.form(format!("--B\r\ncontent-disposition: form-data\r\n\r\nx\r\n{end}"), 400, "invalid_multipart");
    cases.form(
        format!("{}{end}", (0..200).map(|n| part(&format!("p{n}"), "")).collect::<String>()),
        400,
        "invalid_multipart",
    );
    let file = |bytes: &[u8]| {
        let head = "--B\r\ncontent-disposition: form-data; name=\"input_reference\"; filename=\"../../etc/passwd\"\r\ncontent-type: image/png\r\n\r\n";
        [part("prompt", "x").as_bytes(), head.as_bytes(), bytes, b"\r\n--B--\r\n"].concat()
    };
    cases.form(file(b"#!/bin/sh"), 400, "input_image_invalid");
    cases.form(file(b""), 400, "input_image_invalid");
    let mut utf8 = part("prompt", "x").into_bytes();
    utf8.extend_from_slice(b"--B\r\ncontent-disposition: form-data; name=\"size\"\r\n\r\n\xff\xfe\r\n--B--\r\n");
    cases.form(utf8, 400, "invalid_value");
    cases.add(
        "POST /v1/videos",
        "content-type: multipart/form-data\r\n",
        part("prompt", "x"),
        400,
        "invalid_multipart",
    );
}

fn headers_and_types(cases: &mut Cases<'_>) {
    let body = tiny("[sandbox hang] x").to_string();
    let json = "content-type: application/json\r\n";
    cases.add("POST /v1/videos", "", &body, 415, "unsupported_media_type");
    cases.add("POST /v1/videos", "content-type: text/plain\r\n", &body, 415, "unsupported_media_type");
    cases.add(
        "POST /v1/videos",
        "content-type: application/x-www-form-urlencoded\r\n",
        "prompt=x",
        415,
        "unsupported_media_type",
    );
    cases.add("POST /v1/api_keys", "content-type: text/plain\r\n", "{}", 415, "unsupported_media_type");
    for key in ["", "with blank", &"k".repeat(256), "t\u{e4}st", "a\tb"] {
        cases.add("POST /v1/videos", &format!("{json}idempotency-key: {key}\r\n"), &body, 400, "invalid_header");
    }
    cases.add(
        "POST /v1/videos",
        &format!("{json}idempotency-key: a\r\nidempotency-key: b\r\n"),
        &body,
        400,
        "invalid_header",
    );
    cases.add(
        "POST /v1/videos",
        &format!("{json}idempotency-key: {}\r\nx-stainless-retry-count: -5\r\n", "k".repeat(255)),
        &body,
        200,
        "",
    );
    cases.add("GET /v1/videos", &"x-a: b\r\n".repeat(110), "", 431, "headers_too_large");
    cases.add("GET /v1/videos", &format!("x-a: {}\r\n", "b".repeat(40_000)), "", 431, "headers_too_large");
    cases.get(&format!("/v1/videos?model={}", "x".repeat(9_000)), 414, "uri_too_long");
    cases.add("GET /v1/videos", "prefer: wait=99999999999999999999, ;;;=,\r\n", "", 200, "");
    let too_large = format!("{json}content-length: 999999999999\r\n");
    let head = format!(
        "POST /v1/videos HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n{too_large}\r\n",
        cases.server.admin_key
    );
    cases.all.push(Case {
        what: "a body announced as huge".to_owned(),
        request: head.into_bytes(),
        status: 413,
        code: "body_too_large",
    });
    cases.add("POST /v1/api_keys", json, vec![b' '; (1 << 20) + 1], 413, "body_too_large");
}

fn paths_and_methods(cases: &mut Cases<'_>, hanging: &str) {
    for path in [
        "/nowhere",
        "/v1",
        "/v1/",
        "/v2/videos",
        "/v1/videos/",
        "/v1//videos",
        "/v1/events/ws/x",
        "/v1/conduit/x",
        "/callbacks/minimax",
        "/v1/videos/../models",
        "/V1/videos",
        "/v1/videos/characters",
    ] {
        cases.get(path, 404, "not_found");
    }
    for id in [
        "x",
        "video_",
        "video_123",
        "%2e%2e",
        "%00",
        "%ff",
        "video_%67",
        "..%2f..%2fetc%2fpasswd",
        &"a".repeat(2_000),
        "video_0123456789ABCDEF0123456789ABCDEF",
        "video_ffffffffffffffffffffffffffffffff",
    ] {
        cases.get(&format!("/v1/videos/{id}"), 404, "video_not_found");
    }
    cases.get("/v1/videos/%ff/content", 404, "video_not_found");
    cases.get("/v1/models/%ff", 404, "model_not_found");
    cases.get("/v1/models/..", 404, "model_not_found");
    for line in [
        "PUT /v1/videos",
        "DELETE /v1/videos",
        "PATCH /v1/models",
        "POST /healthz",
        "TRACE /v1/videos",
        "BREW /v1/videos",
    ] {
        cases.add(line, "", "", 405, "method_not_allowed");
    }
    cases.add("POST /v1/videos/edits", "", "", 400, "unsupported_by_model");
    cases.add("POST /v1/videos/extensions", "", "{}", 400, "unsupported_by_model");
    cases.add(&format!("POST /v1/videos/{hanging}/remix"), "", "{}", 415, "unsupported_media_type");
    let json = "content-type: application/json\r\n";
    cases.add(&format!("POST /v1/videos/{hanging}/remix"), json, "{}", 400, "missing_parameter");
    cases.add(&format!("POST /v1/videos/{hanging}/remix"), json, r#"{"prompt":"x"}"#, 409, "video_not_ready");
    cases.get("/v1/videos/quote", 405, "method_not_allowed");
    cases.get("/v1/files/..%2f..%2fetc%2fpasswd", 404, "file_not_found");
    cases.add("POST /v1/files", "content-type: multipart/form-data\r\n", "x", 400, "invalid_multipart");
    cases.add("POST /v1/videos/video_00000000000000000000000000000000/remix", "", "", 404, "video_not_found");
    cases.add(&format!("POST /v1/videos/{hanging}/content/link"), "", "", 409, "video_not_ready");
}

fn decisions(cases: &mut Cases<'_>, hanging: &str) {
    let resolve = format!("POST /v1/videos/{hanging}/resolve");
    let json = "content-type: application/json\r\n";
    for (body, status, code) in [
        ("{}", 400, "missing_parameter"),
        (r#"{"decision":"wait"}"#, 400, "invalid_value"),
        (r#"{"decision":"adopt"}"#, 400, "missing_parameter"),
        (r#"{"decision":"adopt","provider_job_id":""}"#, 400, "invalid_value"),
        (r#"{"decision":"adopt","provider_job_id":"a\nb"}"#, 400, "invalid_value"),
        (r#"{"decision":"fail","provider_job_id":"x"}"#, 400, "invalid_value"),
        (r#"{"decision":"fail","why":"x"}"#, 400, "unknown_parameter"),
        (r#"{"decision":"fail"}"#, 409, "video_not_held"),
    ] {
        cases.add(&resolve, json, body, status, code);
    }
}

fn queries_and_keys(cases: &mut Cases<'_>) {
    for (query, code) in [
        ("limit=0", "invalid_limit"),
        ("limit=101", "invalid_limit"),
        ("limit=-1", "invalid_limit"),
        ("limit=x", "invalid_limit"),
        ("limit=", "invalid_limit"),
        ("limit=99999999999999999999", "invalid_limit"),
        ("limit=1.0", "invalid_limit"),
        ("order=up", "invalid_value"),
        ("status=canceled", "invalid_value"),
        ("after=x", "invalid_after"),
        ("after=video_00000000000000000000000000000000", "invalid_after"),
        ("page=2", "unknown_parameter"),
        ("limit=1&limit=2", "repeated_parameter"),
        ("metadata=x", "unknown_parameter"),
        ("metadata[a=x", "unknown_parameter"),
        ("a=%zz", "invalid_query"),
        ("model=%ff", "invalid_query"),
        ("model=%00", "invalid_value"),
    ] {
        cases.get(&format!("/v1/videos?{query}"), 400, code);
    }
    let json = "content-type: application/json\r\n";
    for (body, code) in [
        ("{}", "missing_parameter"),
        (r#"{"name":" "}"#, "invalid_value"),
        (r#"{"name":"a","scopes":[]}"#, "invalid_value"),
        (r#"{"name":"a","scopes":["root"]}"#, "invalid_value"),
        (r#"{"name":"a","scopes":"read"}"#, "invalid_type"),
        (r#"{"name":"a","scopes":["read","read"]}"#, "invalid_value"),
        (r#"{"name":"a","project":""}"#, "invalid_value"),
        (r#"{"name":"a","key":"lt_mine"}"#, "unknown_parameter"),
        (r#"{"name":"a\u0000"}"#, "invalid_value"),
    ] {
        cases.add("POST /v1/api_keys", json, body, 400, code);
    }
}

fn conduits(cases: &mut Cases<'_>, hanging: &str) {
    let task = hanging.replace("video_", "task_");
    let room = "/v1/conduit";
    for path in [
        "",
        "/",
        "/tasks",
        "/tasks/x",
        "/tasks/%ff",
        "/tasks/%00",
        "/tasks/task_",
        &format!("/{hanging}"),
        &format!("/tasks/{hanging}"),
        &format!("/tasks/{}", task.to_uppercase()),
        "/tasks/../../v1/videos",
        "/videos/generations",
        "/videos/generations/tasks/..%2f..%2fetc%2fpasswd",
        "/media/",
        "/media/../../../etc/passwd",
        "/media/..%2f..%2fadmin.key",
        "/media/video/%00.mp4",
        "/media/%ff",
        "/media/info/%ff",
        "/downloads/video/2026/10/01/1-x-00.mp4",
        "/downloads/metadata/x",
        "/discovery/models/%ff/parameters",
        "/discovery/x",
    ] {
        cases.get(&format!("{room}{path}"), 404, "not_found");
    }
    // The older dialect has other words, and as many answers.
    for path in ["/v1/videos/generations", "/v1/tasks", "/v1/tasks/x", "/v1/media/x", "/v1/downloads/%ff", "/v1/auth"] {
        cases.get(path, 404, "");
    }
    cases.get("/v1/videos/generations/x", 405, "");
    cases.get(&format!("{room}/videos/generations/async"), 405, "method_not_allowed");
    cases.get(&format!("{room}/tasks/{task}/poll?timeout=%zz"), 400, "invalid_request");
    cases.get(&format!("{room}/tasks/{task}/poll?timeout=1&timeout=1"), 400, "repeated_parameter");
    cases.get(&format!("{room}/tasks/{task}/poll?timeout=1e9"), 400, "invalid_value");
    let json = "content-type: application/json\r\n";
    let create = format!("POST {room}/videos/generations/async");
    let with = |members: &str| format!(r#"{{"prompt":"x","model":"sandbox",{members}}}"#);
    let many: Vec<String> = (0..65).map(|n| format!(r#""x{n}":1"#)).collect();
    for (body, code) in [
        (String::new(), "invalid_request"),
        ("[]".to_owned(), "invalid_value"),
        ("null".to_owned(), "invalid_value"),
        ("[".repeat(100_000), "invalid_request"),
        (r#"{"prompt":"x","prompt":"y","model":"sandbox"}"#.to_owned(), "repeated_parameter"),
        (with(r#""prompt2":{"a":1,"a":2}"#), "repeated_parameter"),
        (r#"{"prompt":"x\u0000","model":"sandbox"}"#.to_owned(), "prompt_has_nul"),
        (with(r#""duration":1e400"#), "invalid_request"),
        (with(r#""duration":-1"#), "invalid_value"),
        (with(r#""seed":99999999999999999999"#), "invalid_value"),
        (with(r#""n":0"#), "invalid_value"),
        (with(r#""timeout_seconds":3601"#), "invalid_value"),
        (with(r#""user":7"#), "invalid_value"),
        (with(r#""webhook_metadata":[1]"#), "invalid_value"),
        (with(r#""webhook_url":"https://a.example","webhook_headers":{"Host":"b"}"#), "invalid_value"),
        (with(r#""webhook_url":"http://169.254.169.254/latest""#), "webhook_url_refused"),
        (with(r#""start_image":"http://127.0.0.1/x.png""#), "input_url_refused"),
        (with(r#""start_image":"data:,x""#), "invalid_value"),
        (with(&many.join(",")), "invalid_value"),
        (with(&format!(r#""{}":1"#, "x".repeat(129))), "invalid_value"),
    ] {
        cases.add(&create, json, body, 400, code);
    }
    cases.add(&create, "", "{}", 415, "unsupported_media_type");
    let link = format!("POST {room}/downloads/generate-url");
    cases.add(&link, json, r#"{"file_id":7}"#, 400, "invalid_value");
    cases.add(&link, json, r#"{"file_id":"../../etc/passwd"}"#, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_request_has_its_one_answer() {
    let server = Server::start().await;
    let hanging = server.create(&tiny("[sandbox hang] target")).await["id"].as_str().unwrap().to_owned();
    let mut cases = Cases { server: &server, all: Vec::new() };
    create_members(&mut cases);
    create_shapes(&mut cases);
    create_extras(&mut cases);
    create_inputs(&mut cases);
    create_forms(&mut cases);
    headers_and_types(&mut cases);
    paths_and_methods(&mut cases, &hanging);
    conduits(&mut cases, &hanging);
    decisions(&mut cases, &hanging);
    queries_and_keys(&mut cases);
    assert!(cases.all.len() >= 60, "{}", cases.all.len());
    let mut wrong = Vec::new();
    for case in &cases.all {
        let answer = raw(&server, &case.request).await;
        let seen = parse(&answer);
        if seen != (case.status, case.code.to_owned()) {
            wrong.push(format!("{}: {seen:?}, not {} {}", case.what, case.status, case.code));
        }
        if case.status == 405 {
            assert!(String::from_utf8_lossy(&answer).to_ascii_lowercase().contains("\r\nallow: "), "{}", case.what);
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.all.len(), wrong.join("\n"));
    let listed = server.json("/v1/videos?limit=100").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2, "only the two good creates made videos");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversize_bodies_are_cut_off() {
    let server = Server::start_with(|config| config.limits.max_input_image_bytes = 1_000).await;
    let image = [png(), vec![0; 2_000]].concat();
    let data_url = format!("data:image/png;base64,{}", crate::app::base64(&image));
    let mut body = tiny("x");
    body["input_reference"] = serde_json::json!({"image_url": data_url});
    let too_large = (400, "input_image_too_large".to_owned());
    assert_eq!(crate::app::code(server.post("/v1/videos").json(&body)).await, too_large);
    // Announced by nobody: chunk by chunk until the limit.
    let chunks = futures::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 << 10])));
    let stream = reqwest::Body::wrap_stream(chunks);
    let request = server.post("/v1/videos").header("content-type", "application/json").body(stream).send().await;
    // The answer comes while we still send, so the connection may break instead.
    if let Ok(response) = request {
        assert_eq!(response.status().as_u16(), 413);
    }
    assert_eq!(server.json("/v1/videos").await["data"], serde_json::json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_are_given_up() {
    let server = Server::start_with(|config| {
        config.server.header_timeout_secs = 1;
        config.server.body_idle_timeout_secs = 1;
    })
    .await;
    let key = &server.admin_key;
    let head = format!(
        "POST /v1/videos HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    assert_eq!(parse(&raw(&server, head.as_bytes()).await), (408, "request_timeout".to_owned()));
    for silent in ["", "GET /v1/videos HTTP/1.1\r\nhost: x\r\n"] {
        let answer = raw(&server, silent.as_bytes()).await;
        assert!(answer.is_empty() || parse(&answer).0 == 408, "{silent}: {:?}", parse(&answer));
    }
    assert_eq!(server.get("/healthz").send().await.unwrap().status().as_u16(), 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_on_the_wire_hurts_nobody() {
    let server = Server::start().await;
    let junk: [&[u8]; 12] = [
        b"\r\n\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/videos HTTP/1.1\r\nhost: x\r\nhost\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"POST /v1/videos HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/videos HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\njunkjunkjunkjunk",
        b"GET http://169.254.169.254/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\r\n\r\n",
    ];
    for bytes in junk {
        let mut stream = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut answer)).await.unwrap();
        let (status, _) = parse(&answer);
        assert!(status < 500, "{:?}: {status}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(server.get("/healthz").send().await.unwrap().status().as_u16(), 200);
    server.stop().await;
}
