// Keeps the page as the daemon is: takes the pieces that have changed from a stream, and counts the ages.
"use strict";

const SILENCE = 15000; // ms without a word, after which the stream counts as broken: a word comes every 5 s
const AGAIN = [500, 1000, 2000, 5000]; // ms until the stream is tried again
const live = document.getElementById("live");
const html = window.trustedTypes?.createPolicy("consulcast", { createHTML: (text) => text }) ?? { createHTML: (text) => text };
const own = [...document.querySelectorAll("link[rel=stylesheet], script[src]")].map((one) => one.getAttribute("href") ?? one.getAttribute("src"));

let version = document.body.dataset.version;
let ahead = document.body.dataset.now * 1000 - Date.now(); // of the daemon's clock to ours, ms
let heard = Date.now(); // when it was known last how things are
let stream, watchdog, later;
let failures = 0;

function ages(root) {
  const now = Date.now() + ahead;
  for (const time of root.querySelectorAll("time")) {
    time.title ||= time.textContent;
    const text = age((now - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

function age(seconds) {
  const late = seconds >= -1;
  const size = Math.abs(seconds);
  const [number, unit] = size < 90 ? [size, "s"] : size < 5400 ? [size / 60, "min"] : size < 129600 ? [size / 3600, "h"] : [size / 86400, "days"];
  if (late && size < 5) return "just now";
  return late ? `${Math.floor(number)} ${unit} ago` : `in ${Math.floor(number)} ${unit}`;
}

function apply(parts) {
  for (const [name, { set = {}, order }] of Object.entries(parts)) {
    const part = document.querySelector(`[data-part="${name}"]`);
    if (!part) continue;
    const there = new Map([...part.children].map((piece) => [piece.dataset.key, piece]));
    for (const [key, text] of Object.entries(set)) {
      const made = document.createElement("template");
      made.innerHTML = html.createHTML(text);
      const piece = made.content.firstElementChild;
      ages(piece);
      const former = there.get(key);
      const open = former ? [...former.querySelectorAll("details")].map((one) => one.open) : [];
      piece.querySelectorAll("details").forEach((one, number) => { one.open = open[number] ?? false; });
      if (former) former.replaceWith(piece);
      there.set(key, piece);
      if (["TR", "LI"].includes(piece.tagName)) mark(piece);
    }
    if (!order) continue;
    const kept = new Set(order);
    for (const [key, piece] of there) if (!kept.has(key)) piece.remove();
    order.forEach((key, place) => {
      const piece = there.get(key);
      if (piece && part.children[place] !== piece) part.insertBefore(piece, part.children[place] ?? null);
    });
  }
}

function mark(piece) {
  piece.classList.add("fresh");
  setTimeout(() => piece.classList.remove("fresh"), 3000);
}

function say(on, text) {
  live.classList.toggle("on", on);
  live.classList.toggle("lost", !on);
  if (live.textContent !== text) live.textContent = text;
}

function alive() {
  heard = Date.now();
  failures = 0;
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, SILENCE);
  say(true, "Live");
}

function lost() {
  close();
  const at = new Date(heard).toLocaleTimeString([], { hour12: false });
  say(false, `Not live since ${at}: what is shown is of then. Trying again.`);
  later = setTimeout(open, AGAIN[Math.min(failures++, AGAIN.length - 1)]);
}

function close() {
  clearTimeout(watchdog);
  clearTimeout(later);
  stream?.close();
  stream = undefined;
}

function open() {
  close();
  stream = new EventSource(`${document.body.dataset.stream}&known=${encodeURIComponent(version)}`);
  stream.addEventListener("files", ({ data }) => {
    if (own.some((url) => !data.split(" ").includes(url))) location.reload(); // another daemon's
  });
  stream.addEventListener("alive", ({ data }) => {
    ahead = data * 1000 - Date.now();
    alive();
  });
  stream.onmessage = ({ data }) => {
    const news = JSON.parse(data);
    apply(news.parts);
    version = news.version;
    ahead = news.now * 1000 - Date.now();
    alive();
  };
  stream.onerror = lost;
  watchdog = setTimeout(lost, SILENCE);
}

// A page that nobody sees costs the daemon nothing; a browser has six connections to one host for all its tabs.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    close();
    say(false, "Not live while nobody looks.");
  } else open();
});
addEventListener("pagehide", close);
addEventListener("pageshow", ({ persisted }) => { if (persisted) open(); });
setInterval(() => ages(document), 5000);
ages(document);
if (!document.hidden) open();
