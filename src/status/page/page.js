'use strict';

// What providers say reaches the document as text alone: by `append`, `textContent` and `setAttribute` of labels.

const SPANS_MINUTES = [2, 5, 10, 15];
const CHANGES_LISTED = 50;
const CHANGES_KEPT = 1024;
const CHANGES_KEPT_OF_ONE = 64;
const RETRY_SECONDS = 3;

const page = document.body.dataset;
// Wherever it is mounted, with a slash at the end or without.
const base = location.pathname.replace(/\/?$/, '/');
const find = (id) => document.getElementById(id);
const seconds = () => Date.now() / 1000;

const rows = new Map();
let changes = [];
let watchedSince = seconds();
// Some changes before these times are not known: of everybody's, and of one row's.
let gap = 0;
let gaps = new Map();
let heardAt = 0;
let askedAt = 0;
let shownSeconds = 60 * SPANS_MINUTES[0];

// Words.

function lasting(duration) {
  const s = Math.max(0, Math.round(duration));
  const parts = [[Math.floor(s / 86400), 'd'], [Math.floor(s / 3600) % 24, 'h'], [Math.floor(s / 60) % 60, 'min'], [s % 60, 's']];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return '0 s';
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map((part) => part.join(' ')).join(' ');
}

const CAUSES = {
  failures: 'Calls failed', throttled: 'Asked for a pause', probe: 'Check failed', forced: 'Held by an operator',
};
const LABELS = { open: 'Down', 'half-open': 'On trial', closed: 'Up' };
// Open and healthy: its policy only observes.
const wouldBeDown = ({ state, healthy }) => state === 'open' && healthy;
const labelOf = (health) => wouldBeDown(health) ? 'Would be down' : LABELS[health.state];
const TONES = { open: 'ill', 'half-open': 'trial', closed: 'well' };
const ORDER = { open: 0, 'half-open': 1, closed: 3 };

const times = (count, what) => count === 1 ? `1 ${what}` : `${count} ${what}s`;

function why(health) {
  const { state, cause, reason, last_error, consecutive_failures: failures, failed_trials: trials, forced_for_seconds: forced } = health;
  const counts = [];
  if (failures > 0) counts.push(`${times(failures, 'failure')} in a row`);
  if (trials > 0) counts.push(times(trials, 'failed trial'));
  if (state === 'closed' && cause === null) {
    return { cause: failures > 0 ? counts.join(', ') : '', said: last_error ? ['Last error: ', quoted(last_error)] : [] };
  }
  const said = [
    reason && quoted(reason), forced > 0 && `for ${lasting(forced)} more`,
    last_error !== reason && last_error && ['last error: ', quoted(last_error)], counts.join(', '),
  ];
  return { cause: CAUSES[cause] ?? cause ?? '', said: joined(said, ' · ') };
}

function nextTrial({ health, retryAt }) {
  if (health.state === 'closed') return '';
  if (retryAt === null) return 'with its next call';
  const wait = Math.ceil(retryAt - seconds());
  if (health.state === 'half-open') return wait > 0 ? `under way, or in ${lasting(wait)}` : 'under way';
  return wait > 0 ? `in ${lasting(wait)}` : 'now';
}

// Elements.

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function drawn(tag, attributes) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Text of others, which keeps its direction to itself; what could end its isolation gets a box of its own. */
const quoted = (text) => element('bdi', text.includes('\u2069') ? 'boxed' : '', text);

/** Strings and elements, with a separator between the parts. */
const joined = (parts, separator) => parts.filter(Boolean).flatMap((part, index) => index > 0 ? [separator, part] : [part]).flat();

function putAll(node, children) {
  const fresh = element('span', '', ...children);
  if (node.textContent !== fresh.textContent) node.replaceChildren(...fresh.childNodes);
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// Rows.

function newRow(id) {
  const parts = {
    badge: element('span', 'badge'), held: element('span', 'held', 'forced'), since: element('small'),
    cause: element('span', 'cause'), said: element('small', 'said'),
    wait: element('span', 'wait'), done: element('i'),
    strip: drawn('svg', { class: 'strip', role: 'img', preserveAspectRatio: 'none' }),
  };
  parts.bar = element('div', 'bar', parts.done);
  const cells = [
    ['name', quoted(id)], ['state', parts.badge, parts.held, parts.since], ['why', parts.cause, parts.said],
    ['next', parts.wait, parts.bar], ['past', parts.strip],
    ...(page.control ? [['control', controlButton(id)]] : []),
  ].map(([name, ...children]) => element('td', name, ...children));
  for (const cell of cells) cell.setAttribute('role', 'cell');
  const tr = element('tr', '', ...cells);
  tr.setAttribute('role', 'row');
  tr.dataset.id = id;
  tr.addEventListener('animationend', () => tr.classList.remove('changed'));

  return { id, tr, parts, health: null, changes: [], forgotUntil: 0, drawnOf: '' };
}

function update(row, health) {
  const now = seconds();
  const before = row.health?.state;
  row.health = health;
  row.since = health.since_seconds_ago === null ? null : now - health.since_seconds_ago;
  row.retryAt = health.retry_in_seconds === null ? null : now + health.retry_in_seconds;

  const { parts, tr } = row;
  mark(tr, 'data-tone', wouldBeDown(health) ? 'trial' : TONES[health.state]);
  mark(tr, 'data-state', health.state);
  if (before && before !== health.state) tr.classList.add('changed');
  put(parts.badge, labelOf(health));
  parts.held.hidden = health.cause !== 'forced';
  const { cause, said } = why(health);
  put(parts.cause, cause);
  putAll(parts.said, said);
  drawStrip(row);
  tick(row);
}

/** What time alone changes. */
function tick(row) {
  const { parts, health, since, retryAt } = row;
  const now = seconds();
  put(parts.since, since === null ? 'since the start' : `${health.state} for ${lasting(now - since)}`);
  put(parts.wait, nextTrial(row));
  const isCounting = health.state === 'open' && since !== null && retryAt !== null;
  parts.bar.hidden = !isCounting;
  if (isCounting) {
    const done = Math.min(1, (now - since) / Math.max(1, retryAt - since));
    parts.done.style.width = `${(done * 100).toFixed(1)}%`;
  }
  mark(parts.strip, 'viewBox', `${Math.round(now - watchedSince) - shownSeconds} 0 ${shownSeconds} 10`);
}

// The strip: rectangles lie where time puts them, counted in seconds; as it goes by only the view moves.

function drawStrip(row) {
  const { health, since, parts } = row;
  while (row.changes.length > 1 && row.changes[1].at < seconds() - shownSeconds) row.changes.shift();
  const knownSince = Math.max(watchedSince, gap, gaps.get(row.id) ?? 0, row.forgotUntil);
  const known = row.changes.filter((change) => change.at > knownSince);
  const key = `${known.length} ${known.at(-1)?.at} ${health.state} ${knownSince} ${watchedSince} ${shownSeconds}`;
  if (row.drawnOf === key) return;
  row.drawnOf = key;

  const spans = [];
  // Without a change it has been as it is for as long as it says.
  let from = known.length > 0 ? knownSince : since ?? watchedSince;
  let state = known[0]?.from ?? health.state;
  for (const change of known) {
    spans.push({ from, to: change.at, state });
    [from, state] = [change.at, change.to];
  }
  if (state !== health.state && since !== null) {
    spans.push({ from, to: since, state });
    [from, state] = [since, health.state];
  }
  spans.push({ from, to: Infinity, state });

  // Those in which it was not well come last, and are wide enough to be seen.
  const order = [...spans.filter((span) => span.state === 'closed'), ...spans.filter((span) => span.state !== 'closed')];
  parts.strip.replaceChildren(...order.map(({ from, to, state }) => {
    const width = Math.max(Math.min(to - from, 1e7), state === 'closed' ? 0 : shownSeconds / 150);
    const rect = drawn('rect', { class: state, x: from - watchedSince, y: 0, width, height: 10 });
    const title = drawn('title', {});
    title.textContent = to === Infinity ? LABELS[state] : `${LABELS[state]} for ${lasting(to - from)}`;
    rect.append(title);
    return rect;
  }));
  const recent = row.changes.filter((change) => change.at > seconds() - shownSeconds);
  const counted = recent.length === 0 ? 'no change' : times(recent.length, 'change');
  mark(parts.strip, 'aria-label', `${counted} in the last ${shownSeconds / 60} minutes, now ${labelOf(health).toLowerCase()}`);
}

function keep(row, fresh) {
  row.changes.push(...fresh);
  const tooMany = row.changes.splice(0, Math.max(0, row.changes.length - CHANGES_KEPT_OF_ONE));
  row.forgotUntil = tooMany.at(-1)?.at ?? row.forgotUntil;
}

// The list of changes, which says in words what the strips show.

function clock(date) {
  const time = date.toLocaleTimeString([], { hour12: false });
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.toLocaleDateString([], { day: 'numeric', month: 'short' })}, ${time}`;
}

function listed(change) {
  const state = (name) => {
    const made = element('span', '', name);
    made.dataset.state = name;
    return made;
  };
  const at = new Date(change.at * 1000);
  const time = element('time', '', clock(at));
  time.dateTime = at.toISOString();
  const cause = change.to === 'open' || change.reason ? CAUSES[change.cause] : '';
  const said = joined([cause, change.reason && quoted(change.reason)], ': ');
  return element('li', '',
    time, element('b', '', quoted(change.provider)),
    element('span', '', state(change.from), ' → ', state(change.to)), element('span', 'said', ...said));
}

function remember(history, isWhole) {
  const now = seconds();
  if (isWhole) {
    changes = [];
    for (const row of rows.values()) [row.changes, row.forgotUntil] = [[], 0];
    watchedSince = now - history.watched_seconds;
    find('changes').replaceChildren();
  }
  gap = history.gap_seconds_ago === null ? 0 : now - history.gap_seconds_ago;
  gaps = new Map(Object.entries(history.gaps).map(([id, ago]) => [id, now - ago]));
  const fresh = history.transitions.map(({ seconds_ago: ago, ...change }) => ({ ...change, at: now - ago }));
  changes = [...changes, ...fresh].slice(-CHANGES_KEPT);
  for (const row of rows.values()) keep(row, fresh.filter((change) => change.provider === row.id));
  find('changes').prepend(...fresh.slice(-CHANGES_LISTED).reverse().map(listed));
  while (find('changes').childElementCount > CHANGES_LISTED) find('changes').lastElementChild.remove();
  find('no-changes').hidden = changes.length > 0;
  find('gaps').hidden = history.missed === 0;
  put(find('gaps'), `${times(history.missed, 'older change')} ${history.missed === 1 ? 'was' : 'were'} not kept.`);
}

// The whole.

function show({ providers }) {
  fitStrips();
  const known = new Set();
  for (const health of providers) {
    known.add(health.id);
    let row = rows.get(health.id);
    if (!row) {
      row = newRow(health.id);
      keep(row, changes.filter((change) => change.provider === health.id));
      rows.set(health.id, row);
    }
    update(row, health);
  }
  for (const [id, row] of rows) {
    if (known.has(id)) continue;
    row.tr.remove();
    rows.delete(id);
  }
  arrange();
  filter();
  summarize();
}

/** The strips show as much as there is to show, up to the longest span. */
function fitStrips() {
  const watched = (seconds() - watchedSince) / 60;
  const minutes = SPANS_MINUTES.find((span) => watched <= span) ?? SPANS_MINUTES.at(-1);
  shownSeconds = minutes * 60;
  put(find('span'), `Last ${minutes} minutes`);
}

/** The ill ones first; a row moves only where it must, and keeps the focus. */
function arrange() {
  const rank = (row) => row.health.state === 'closed' && row.health.cause !== null ? 2 : ORDER[row.health.state];
  const sorted = [...rows.values()].sort((one, other) => rank(one) - rank(other) || (one.id < other.id ? -1 : 1));
  const focused = document.activeElement;
  let place = find('providers').firstElementChild;
  for (const { tr } of sorted) {
    if (tr === place) place = place.nextElementSibling;
    else find('providers').insertBefore(tr, place);
  }
  if (focused !== document.activeElement) focused.focus({ preventScroll: true });
}

function filter() {
  const sought = find('filter').value.trim().toLowerCase();
  const onlyIll = find('only-ill').checked;
  let shown = 0;
  for (const { id, tr, health } of rows.values()) {
    const matches = id.toLowerCase().includes(sought) && !(onlyIll && health.state === 'closed');
    tr.hidden = !matches;
    if (matches) shown += 1;
  }
  put(find('shown'), shown === rows.size ? '' : `${shown} of ${rows.size} shown`);
  find('none').hidden = rows.size > 0;
}

function summarize() {
  const all = rows.size;
  const counts = { down: 0, 'on trial': 0, 'would be down': 0, up: 0 };
  for (const { health } of rows.values()) counts[labelOf(health).toLowerCase()] += 1;
  const { up, ...rest } = counts;
  const ill = Object.entries(rest).filter(([, count]) => count > 0);
  const tone = counts.down > 0 ? 'ill' : ill.length > 0 ? 'trial' : all > 0 ? 'well' : 'none';
  const parts = ill.map(([what, count], index) => index === 0 ? `${count} of ${all} ${what}` : `${count} ${what}`);
  const none = ['No provider yet', 'The one provider is up'][all] ?? `All ${all} are up`;
  put(find('summary'), parts.join(', ') || none);
  mark(find('summary'), 'data-tone', tone);
  document.title = parts.length > 0 ? `(${all - up}) ${page.title}` : page.title;
  const colour = { ill: '#d9453c', trial: '#efb23e', well: '#2f9e62', none: '#9ba7b6' }[tone];
  const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colour}"/></svg>`;
  mark(document.querySelector('link[rel=icon]'), 'href', `data:image/svg+xml,${encodeURIComponent(icon)}`);
}

// The connection.

let source = null;
let connection = 'connecting';

function connect() {
  source?.close();
  askedAt = seconds();
  source = new EventSource(`${base}events`);
  const hear = (name, act) => source.addEventListener(name, ({ data }) => {
    heardAt = seconds();
    act(JSON.parse(data));
    document.querySelector('main').hidden = false;
    tell('live', 'live');
  });
  hear('history', (history) => remember(history, true));
  hear('transitions', (history) => remember(history, false));
  hear('health', show);
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return tell('lost', 'no connection');
    // Where the browser gives up, as at a 503, this does not.
    setTimeout(connect, RETRY_SECONDS * 1000);
    lookWithoutEvents();
  };
}

/** An answer that is no stream of events is not shown to a script: this one is. */
async function lookWithoutEvents() {
  try {
    const response = await fetch(`${base}health.json`, { signal: AbortSignal.timeout(RETRY_SECONDS * 900) });
    const health = await response.json().catch(() => ({}));
    if (!health.providers) return tell('lost', response.redirected ? 'signed out' : `the server answered ${response.status}`);
    heardAt = seconds();
    show(health);
    document.querySelector('main').hidden = false;
    tell('wait', 'not live: too many viewers');
  } catch {
    tell('lost', 'no connection');
  }
}

function tell(tone, words) {
  find('connection').dataset.tone = tone;
  connection = words;
  tellConnection();
}

function tellConnection() {
  const isLost = find('connection').dataset.tone === 'lost';
  document.body.classList.toggle('stale', isLost);
  const age = isLost && heardAt > 0 ? `, this is from ${lasting(seconds() - heardAt)} ago` : '';
  put(find('connection'), connection + age);
}

// Control.

function controlButton(id) {
  const button = element('button', 'overrule', 'Overrule …');
  button.type = 'button';
  button.setAttribute('aria-label', `Overrule ${id}`);
  button.addEventListener('click', () => openControl(id));
  return button;
}

function openControl(id) {
  const dialog = find('control').content.firstElementChild.cloneNode(true);
  const form = dialog.querySelector('form');
  const error = dialog.querySelector('.error');
  dialog.querySelector('h2').append(quoted(id));
  dialog.addEventListener('close', () => dialog.remove());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const action = event.submitter.value;
    if (action === 'cancel') return dialog.close();
    error.textContent = '';
    const takesTime = action.startsWith('force-');
    const body = takesTime ? { ttl: form.elements.ttl.value, reason: form.elements.reason.value } : {};
    try {
      const row = await overrule(id, action, body);
      if (rows.has(id)) {
        update(rows.get(id), row);
        arrange();
        summarize();
      }
      dialog.close();
    } catch (failure) {
      error.append(quoted(failure.message));
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}

async function overrule(id, action, body) {
  const root = new URL(page.control.replace(/\/?$/, '/'), new URL(base, location));
  // Of a path, browsers remove the ids `.` and `..`, also where they are encoded.
  const response = await fetch(new URL(`providers/${action}?id=${encodeURIComponent(id)}`, root), {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || !answer.providers) {
    throw new Error(answer.error ?? (response.redirected ? 'Sign in again.' : `The server answered ${response.status}.`));
  }
  return answer.providers[0];
}

// Start.

if (page.control) find('head').append(element('th', 'control'));

find('filter').addEventListener('input', filter);
find('only-ill').addEventListener('change', filter);
find('tools').addEventListener('submit', (event) => event.preventDefault());
setInterval(() => {
  for (const row of rows.values()) if (!row.tr.hidden) tick(row);
  // A connection may be dead without anybody saying so.
  const silence = seconds() - Math.max(heardAt, askedAt);
  if (silence > 3 * page.refresh + 5) {
    tell('lost', 'no connection');
    if (source.readyState !== EventSource.CLOSED) connect();
  }
  tellConnection();
  for (const time of document.querySelectorAll('#changes time')) put(time, clock(new Date(time.dateTime)));
}, 1000);
connect();
