//! A browser page under control: Chromium's DevTools protocol over a pair of pipes, so that nothing but the standard
//! library is needed. The page is looked at, clicked and photographed as a user would; what it complains about in its
//! console, and whom it asks, is written down.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{discard, scratch_dir, skip, tools_dir};

const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// One page in a headless browser of its own. The browser ends when this is dropped, or its pipe closes.
pub struct Page {
    browser: Child,
    requests: ChildStdin,
    answers: Receiver<Value>,
    profile: PathBuf,
    session: String,
    last_id: u64,
    /// Errors, warnings and exceptions of the page, in words.
    pub complaints: Vec<String>,
    /// Every address that the page asked for.
    pub asked: BTreeSet<String>,
}

impl Page {
    /// Opens an address in a window of this size. `None`, and a visible word, when there is no browser.
    ///
    /// # Panics
    /// When the browser fails.
    pub fn open(url: &str, (width, height): (u32, u32)) -> Option<Page> {
        let program = tools_dir().join("chromium/chromium");
        if !program.exists() {
            skip("Chromium");
            return None;
        }
        let profile = scratch_dir("page");
        // Chromium reads commands from descriptor 3 and answers on 4.
        let mut browser = Command::new("/bin/sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"])
            .arg(&program)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--window-size={width},{height}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let requests = browser.stdin.take().expect("a pipe");
        let output = browser.stdout.take().expect("a pipe");
        let (told, answers) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if told.send(message).is_err() {
                    break;
                }
            }
        });
        let mut page = Page { browser, requests, answers, profile, session: String::new(), last_id: 0, complaints: Vec::new(), asked: BTreeSet::new() };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = page.call("Target.attachToTarget", attach);
        page.session = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        page.call("Emulation.setDeviceMetricsOverride", size);
        page.go(url);
        Some(page)
    }

    /// Goes to another address.
    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    /// When it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", ask);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown:#}");
        answer["result"]["value"].take()
    }

    /// The text of the first element of a selector; empty when there is none.
    pub fn text(&mut self, selector: &str) -> String {
        let found = self.value(&format!("document.querySelector({selector:?})?.innerText ?? ''"));
        found.as_str().unwrap_or_default().trim().to_owned()
    }

    /// How many elements match a selector.
    pub fn number_of(&mut self, selector: &str) -> u64 {
        let found = self.value(&format!("document.querySelectorAll({selector:?}).length"));
        found.as_u64().expect("a number")
    }

    /// Asks until an expression is true.
    ///
    /// # Panics
    /// When it is not within `limit`; the message holds the page's text and complaints.
    pub fn wait(&mut self, expression: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.value(&format!("Boolean({expression})")) != true {
            if Instant::now() > deadline {
                let text = self.text("body");
                panic!("not within {limit:?}: {expression}\n{:#?}\n{text}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Clicks into the middle of an element, with a real mouse event.
    ///
    /// # Panics
    /// When it is not there, or something else lies over it.
    pub fn click(&mut self, selector: &str) {
        let place = self.value(&format!(
            "(() => {{ const e = document.querySelector({selector:?}); if (!e) return 'missing';
              e.scrollIntoView({{ block: 'nearest' }}); const r = e.getBoundingClientRect();
              const [x, y] = [r.x + r.width / 2, r.y + r.height / 2];
              return e.contains(document.elementFromPoint(x, y)) ? [x, y] : 'covered'; }})()"
        ));
        assert!(place.is_array(), "{selector} cannot be clicked: it is {place}");
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses and releases a key, with real key events: `Enter`, `Tab`, `Escape`, `ArrowRight`, `Home` …
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let text = if key == "Enter" { json!("\r") } else { Value::Null };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_null() {
                event["text"] = text.clone();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Gives the window another size.
    pub fn resize(&mut self, (width, height): (u32, u32)) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Saves what the window shows as a PNG.
    pub fn picture(&mut self, file: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let text = answer["data"].as_str().expect("a picture");
        std::fs::write(file, from_base64(text)).expect("the picture");
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.requests.write_all(&bytes).expect("the browser reads");
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(mut answer) if answer["id"] == self.last_id => {
                    assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                    return answer["result"].take();
                }
                Ok(event) => self.note(&event),
                Err(RecvTimeoutError::Timeout) => panic!("{method}: no answer within {ANSWER_LIMIT:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser has ended"),
            }
        }
    }

    fn note(&mut self, event: &Value) {
        let of = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(of["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if of["type"] == "error" || of["type"] == "warning" => {
                self.complaints.push(of["args"].to_string());
            }
            Some("Log.entryAdded") if of["entry"]["level"] == "error" => {
                self.complaints.push(of["entry"].to_string());
            }
            Some("Network.requestWillBeSent") => {
                self.asked.extend(of["request"]["url"].as_str().map(str::to_owned));
            }
            _ => {}
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
        discard(&self.profile);
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text.bytes().filter(|b| *b != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xff) as u8);
        }
    }
    out
}
