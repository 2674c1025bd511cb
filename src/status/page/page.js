'use strict';

// Text from providers enters the document only as text: by `append`, `textContent`, and `setAttribute` of labels.

const SPANS_MINUTES = [2, 5, 10, 15];
const CHANGES_LISTED = 50;
const CHANGES_KEPT = 1024;
const CHANGES_KEPT_PER_PROVIDER = 64;
const RETRY_SECONDS = 3;

const page = document.body.dataset;
// Works under any mount path, with or without a trailing slash.
const base = location.pathname.replace(/\/?$/, '/');
const find = (id) => document.getElementById(id);
const seconds = () => Date.now() / 1000;

const rows = new Map();
let changes = [];
let watchedSince = seconds();
// Some changes before these times are missing: for all providers, and for single ones.
let gap = 0;
let gaps = new Map();
let receivedAt = 0;
let requestedAt = 0;
let shownSeconds = 60 * SPANS_MINUTES[0];
// The fleet's view and the time at which it came, if the server is in a fleet.
let fleet = null;

// Texts.

function formatDuration(duration) {
  const s = Math.max(0, Math.round(duration));
  const parts = [[Math.floor(s / 86400), 'd'], [Math.floor(s / 3600) % 24, 'h'], [Math.floor(s / 60) % 60, 'min'], [s % 60, 's']];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return '0 s';
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map((part) => part.join(' ')).join(' ');
}

const CAUSES = {
  failures: 'Calls failed', throttled: 'Throttled', probe: 'Health check failed', forced: 'Forced by an operator',
  peer: 'Reported by another replica',
};
const LABELS = { open: 'Down', 'half-open': 'On trial', closed: 'Up' };
// Open but healthy: the policy only observes.
const wouldBeDown = ({ state, healthy }) => state === 'open' && healthy;
const labelOf = (health) => wouldBeDown(health) ? 'Would be down' : LABELS[health.state];
const TONES = { open: 'unhealthy', 'half-open': 'trial', closed: 'healthy' };
const toneOf = (health) => wouldBeDown(health) ? 'trial' : TONES[health.state];
const ORDER = { open: 0, 'half-open': 1, closed: 3 };

const plural = (count, what) => count === 1 ? `1 ${what}` : `${count} ${what}s`;

/** Calls that were admitted although the breaker would have refused them. */
function wouldHaveRefused({ success, failure, throttled, answered, neutral }) {
  const all = success + failure + throttled + answered + neutral;
  return `since start, ${plural(all, 'call')} would have been refused: ${success + answered} were answered, ${failure + throttled} failed`;
}

function why(health) {
  const { state, cause, reason, last_error, consecutive_failures: failures, failed_trials: trials, forced_for_seconds: forced, shadow } = health;
  const counts = [];
  if (failures > 0) counts.push(`${plural(failures, 'failure')} in a row`);
  if (trials > 0) counts.push(plural(trials, 'failed trial'));
  if (state === 'closed' && cause === null) {
    const detail = [last_error && ['Last error: ', isolated(last_error)], shadow && wouldHaveRefused(shadow)];
    return { cause: failures > 0 ? counts.join(', ') : '', detail: joined(detail, ' · ') };
  }
  const detail = [
    reason && isolated(reason), forced > 0 && `${formatDuration(forced)} left`,
    last_error !== reason && last_error && ['last error: ', isolated(last_error)], counts.join(', '),
    shadow && wouldHaveRefused(shadow),
  ];
  return { cause: CAUSES[cause] ?? cause ?? '', detail: joined(detail, ' · ') };
}

function nextTrial({ health, retryAt }) {
  if (health.state === 'closed') return '';
  if (retryAt === null) return 'on the next call';
  const wait = Math.ceil(retryAt - seconds());
  if (health.state === 'half-open') return wait > 0 ? `running, next in ${formatDuration(wait)}` : 'running';
  return wait > 0 ? `in ${formatDuration(wait)}` : 'now';
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

/** Isolates the text direction of foreign text. A text that could end the isolation also gets a box of its own. */
const isolated = (text) => element('bdi', text.includes('\u2069') ? 'boxed' : '', text);

/** Joins strings and elements with a separator; skips empty parts. */
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
    badge: element('span', 'badge'), forced: element('span', 'forced', 'forced'), since: element('small'),
    cause: element('span', 'cause'), detail: element('small', 'detail'),
    wait: element('span', 'wait'), done: element('i'), shared: element('span'), replicas: element('small'),
    strip: drawn('svg', { class: 'strip', role: 'img', preserveAspectRatio: 'none' }),
  };
  parts.bar = element('div', 'bar', parts.done);
  const cells = [
    ['name', isolated(id)], ['state', parts.badge, parts.forced, parts.since], ['why', parts.cause, parts.detail],
    ['next', parts.wait, parts.bar], ['fleet', parts.shared, parts.replicas], ['past', parts.strip],
    ...(page.control ? [['control', controlButton(id)]] : []),
  ].map(([name, ...children]) => element('td', name, ...children));
  for (const cell of cells) cell.setAttribute('role', 'cell');
  const tr = element('tr', '', ...cells);
  tr.setAttribute('role', 'row');
  tr.dataset.id = id;
  tr.addEventListener('animationend', () => tr.classList.remove('changed'));

  return { id, tr, parts, health: null, changes: [], evictedUntil: 0, drawnKey: '' };
}

function update(row, health) {
  const now = seconds();
  const before = row.health?.state;
  row.health = health;
  row.since = health.since_seconds_ago === null ? null : now - health.since_seconds_ago;
  row.retryAt = health.retry_in_seconds === null ? null : now + health.retry_in_seconds;

  const { parts, tr } = row;
  mark(tr, 'data-tone', toneOf(health));
  mark(tr, 'data-state', health.state);
  if (before && before !== health.state) tr.classList.add('changed');
  put(parts.badge, labelOf(health));
  parts.forced.hidden = health.cause !== 'forced';
  const { cause, detail } = why(health);
  put(parts.cause, cause);
  putAll(parts.detail, detail);
  drawStrip(row);
  tick(row);
}

/** Updates the texts and bars that change with time alone. */
function tick(row) {
  const { parts, health, since, retryAt } = row;
  const now = seconds();
  put(parts.since, since === null ? `${health.state} since start` : `${health.state} for ${formatDuration(now - since)}`);
  put(parts.wait, nextTrial(row));
  const isCounting = health.state === 'open' && since !== null && retryAt !== null;
  parts.bar.hidden = !isCounting;
  if (isCounting) {
    const done = Math.min(1, (now - since) / Math.max(1, retryAt - since));
    parts.done.style.width = `${(done * 100).toFixed(1)}%`;
  }
  tickFleet(row);
  mark(parts.strip, 'viewBox', `${Math.round(now - watchedSince) - shownSeconds} 0 ${shownSeconds} 10`);
}

// The strip: rectangles have fixed positions in seconds. As time passes, only the view box moves.

function drawStrip(row) {
  const { health, since, parts } = row;
  while (row.changes.length > 1 && row.changes[1].at < seconds() - shownSeconds) row.changes.shift();
  const knownSince = Math.max(watchedSince, gap, gaps.get(row.id) ?? 0, row.evictedUntil);
  const known = row.changes.filter((change) => change.at > knownSince);
  const key = `${known.length} ${known.at(-1)?.at} ${health.state} ${knownSince} ${watchedSince} ${shownSeconds}`;
  if (row.drawnKey === key) return;
  row.drawnKey = key;

  const spans = [];
  // Without a recorded change, the state holds since the time that the provider reports.
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

  // Unhealthy spans are drawn last and with a minimum width, so that short ones stay visible.
  const order = [...spans.filter((span) => span.state === 'closed'), ...spans.filter((span) => span.state !== 'closed')];
  parts.strip.replaceChildren(...order.map(({ from, to, state }) => {
    const width = Math.max(Math.min(to - from, 1e7), state === 'closed' ? 0 : shownSeconds / 150);
    const rect = drawn('rect', { class: state, x: from - watchedSince, y: 0, width, height: 10 });
    const title = drawn('title', {});
    title.textContent = to === Infinity ? LABELS[state] : `${LABELS[state]} for ${formatDuration(to - from)}`;
    rect.append(title);
    return rect;
  }));
  const recent = row.changes.filter((change) => change.at > seconds() - shownSeconds);
  const counted = recent.length === 0 ? 'no change' : plural(recent.length, 'change');
  mark(parts.strip, 'aria-label', `${counted} in the last ${shownSeconds / 60} minutes, now ${labelOf(health).toLowerCase()}`);
}

function keep(row, fresh) {
  row.changes.push(...fresh);
  const evicted = row.changes.splice(0, Math.max(0, row.changes.length - CHANGES_KEPT_PER_PROVIDER));
  row.evictedUntil = evicted.at(-1)?.at ?? row.evictedUntil;
}

// The list of changes, with the same data as the strips.

function clock(date) {
  const time = date.toLocaleTimeString([], { hour12: false });
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.toLocaleDateString([], { day: 'numeric', month: 'short' })}, ${time}`;
}

/** A closing has no cause, unless an operator forced it. The reason of a half-open breaker is what opened it. */
function causeOf({ to, cause, reason }) {
  if (to === 'open' || (cause === 'forced' && reason)) return CAUSES[cause];
  return reason && 'Opened by';
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
  const detail = joined([causeOf(change), change.reason && isolated(change.reason)], ': ');
  return element('li', '',
    time, element('b', '', isolated(change.provider)),
    element('span', '', state(change.from), ' → ', state(change.to)), element('span', 'detail', ...detail));
}

function recordHistory(history, isWhole) {
  const now = seconds();
  if (isWhole) {
    changes = [];
    for (const row of rows.values()) [row.changes, row.evictedUntil] = [[], 0];
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
  put(find('gaps'), `${plural(history.missed, 'older change')} ${history.missed === 1 ? 'was' : 'were'} not kept.`);
}

// The chains: which provider serves, and which were passed by.

function showChains({ chains, period_seconds: period }) {
  find('chains').hidden = chains.length === 0;
  put(find('chains-period'), `Skipped or failed in the last ${formatDuration(period)}`);
  const body = find('chains').querySelector('tbody');
  body.replaceChildren(...chains.map((chain) => gridRow([
    cell('td', isolated(chain.name)), servingCell(chain), cell('td', ...passedBy(chain)),
  ])));
}

function servingCell({ serving, served_seconds_ago: ago }) {
  if (serving === null) return cell('td', 'no request served yet');
  const made = cell('td', isolated(serving));
  // The provider of another cache has no row.
  const health = rows.get(serving)?.health;
  if (health) {
    made.append(' ', element('span', 'badge', labelOf(health)));
    made.dataset.tone = toneOf(health);
  }
  made.append(element('small', '', `${formatDuration(ago)} ago`));
  return made;
}

function passedBy({ entries, unserved }) {
  const lines = entries.filter(({ passed_by: reasons }) => Object.keys(reasons).length > 0).map(({ provider, passed_by: reasons }) => {
    const counted = Object.entries(reasons).map(([reason, requests]) => [`${requests} × `, isolated(reason)]);
    return element('small', '', isolated(provider), ': ', ...joined(counted, ', '));
  });
  if (unserved > 0) lines.push(element('small', 'error', `No provider served ${plural(unserved, 'request')}`));
  return lines;
}

// The fleet: what all replicas share of a provider, and the providers that are unhealthy on each replica.

function showFleet(view) {
  fleet = { ...view, at: seconds() };
  for (const id of ['fleet', 'fleet-head']) find(id).hidden = false;
  document.body.classList.add('in-fleet');
  const replicas = Object.entries(fleet.replicas).sort(([one], [other]) => one < other ? -1 : 1);
  const unhealthy = [...new Set(replicas.flatMap(([, rows]) => rows.map(({ provider }) => provider)))].sort();
  const count = plural(replicas.length, 'replica');
  putAll(find('fleet-note'), fleet.connected
    ? ['This replica is ', isolated(fleet.replica), replicas.length > 0 && unhealthy.length === 0 ? `. All providers are up on ${count}.` : '.']
    : ['The store of the fleet cannot be reached: ', isolated(fleet.error ?? 'not yet')]);
  find('matrix').hidden = unhealthy.length === 0;
  const [head, body] = find('matrix').children;
  head.replaceChildren(gridRow([cell('th', 'Provider'), ...replicas.map(([name]) => cell('th', isolated(name)))]));
  body.replaceChildren(...unhealthy.map((id) => gridRow([
    cell('td', isolated(id)), ...replicas.map(([, rows]) => stateCell(rows.find(({ provider }) => provider === id))),
  ])));
  for (const row of rows.values()) tickFleet(row);
}

function gridRow(cells) {
  const tr = element('tr', '', ...cells);
  tr.setAttribute('role', 'row');
  return tr;
}

function cell(tag, ...children) {
  const made = element(tag, '', ...children);
  made.setAttribute('role', tag === 'th' ? 'columnheader' : 'cell');
  return made;
}

function stateCell(shared) {
  const state = shared?.state ?? 'closed';
  const made = cell('td', element('span', 'badge', LABELS[state]));
  made.dataset.tone = TONES[state];
  if (shared?.cause) made.append(element('small', '', CAUSES[shared.cause] ?? shared.cause));
  return made;
}

function tickFleet({ id, parts }) {
  if (!fleet) return;
  const shared = fleet.windows.find(({ provider }) => provider === id);
  const left = shared ? shared.remaining_seconds - (seconds() - fleet.at) : 0;
  put(parts.shared, left > 0 ? `${CAUSES[shared.cause]}: ${formatDuration(left)} left` : '');
  const all = Object.values(fleet.replicas);
  const down = all.filter((rows) => rows.some(({ provider, state }) => provider === id && state !== 'closed'));
  put(parts.replicas, down.length > 0 ? `unhealthy on ${down.length} of ${plural(all.length, 'replica')}` : '');
}

// The table.

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

/** Fits the span of the strips to the recorded time, up to the longest span. */
function fitStrips() {
  const watched = (seconds() - watchedSince) / 60;
  const minutes = SPANS_MINUTES.find((span) => watched <= span) ?? SPANS_MINUTES.at(-1);
  shownSeconds = minutes * 60;
  put(find('span'), `Last ${minutes} minutes`);
}

/** Sorts unhealthy providers first. Moves only the rows that must move, and keeps the focus. */
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
  const onlyUnhealthy = find('only-unhealthy').checked;
  let shown = 0;
  for (const { id, tr, health } of rows.values()) {
    const matches = id.toLowerCase().includes(sought) && !(onlyUnhealthy && health.state === 'closed');
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
  const unhealthy = Object.entries(rest).filter(([, count]) => count > 0);
  const tone = counts.down > 0 ? 'unhealthy' : unhealthy.length > 0 ? 'trial' : all > 0 ? 'healthy' : 'none';
  const parts = unhealthy.map(([what, count], index) => index === 0 ? `${count} of ${all} ${what}` : `${count} ${what}`);
  const none = ['No providers yet', 'The provider is up'][all] ?? `All ${all} are up`;
  put(find('summary'), parts.join(', ') || none);
  mark(find('summary'), 'data-tone', tone);
  document.title = parts.length > 0 ? `(${all - up}) ${page.title}` : page.title;
  const color = { unhealthy: '#d9453c', trial: '#efb23e', healthy: '#2f9e62', none: '#9ba7b6' }[tone];
  const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${color}"/></svg>`;
  mark(document.querySelector('link[rel=icon]'), 'href', `data:image/svg+xml,${encodeURIComponent(icon)}`);
}

// The connection.

let source = null;
let connection = 'connecting';

function connect() {
  source?.close();
  requestedAt = seconds();
  source = new EventSource(`${base}events`);
  const on = (name, act) => source.addEventListener(name, ({ data }) => {
    receivedAt = seconds();
    act(JSON.parse(data));
    document.querySelector('main').hidden = false;
    setConnection('live', 'live');
  });
  on('history', (history) => recordHistory(history, true));
  on('transitions', (history) => recordHistory(history, false));
  on('health', show);
  on('chains', showChains);
  on('fleet', showFleet);
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return setConnection('lost', 'disconnected');
    // The browser does not reconnect after an error status such as 503, so reconnect here.
    setTimeout(connect, RETRY_SECONDS * 1000);
    loadWithoutEvents();
  };
}

/** Loads health once. Unlike an event source, `fetch` also shows why a request failed. */
async function loadWithoutEvents() {
  try {
    const response = await fetch(`${base}health.json`, { signal: AbortSignal.timeout(RETRY_SECONDS * 900) });
    const health = await response.json().catch(() => ({}));
    if (!health.providers) return setConnection('lost', response.redirected ? 'signed out' : `server returned ${response.status}`);
    receivedAt = seconds();
    show(health);
    document.querySelector('main').hidden = false;
    setConnection('wait', 'not live: too many viewers');
  } catch {
    setConnection('lost', 'disconnected');
  }
}

function setConnection(tone, text) {
  find('connection').dataset.tone = tone;
  connection = text;
  drawConnection();
}

function drawConnection() {
  const isLost = find('connection').dataset.tone === 'lost';
  document.body.classList.toggle('stale', isLost);
  const age = isLost && receivedAt > 0 ? `, last update ${formatDuration(seconds() - receivedAt)} ago` : '';
  put(find('connection'), connection + age);
}

// Control.

function controlButton(id) {
  const button = element('button', 'override', 'Override…');
  button.type = 'button';
  button.setAttribute('aria-label', `Override ${id}`);
  button.addEventListener('click', () => openControl(id));
  return button;
}

function openControl(id) {
  const dialog = find('control').content.firstElementChild.cloneNode(true);
  const form = dialog.querySelector('form');
  const error = dialog.querySelector('.error');
  dialog.querySelector('h2').append(isolated(id));
  dialog.addEventListener('close', () => dialog.remove());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const action = event.submitter.value;
    if (action === 'cancel') return dialog.close();
    error.textContent = '';
    const isForce = action.startsWith('force-');
    const body = isForce ? { ttl: form.elements.ttl.value, reason: form.elements.reason.value } : {};
    try {
      const row = await override(id, action, body);
      if (rows.has(id)) {
        update(rows.get(id), row);
        arrange();
        summarize();
      }
      dialog.close();
    } catch (failure) {
      error.append(isolated(failure.message));
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}

async function override(id, action, body) {
  const root = new URL(page.control.replace(/\/?$/, '/'), new URL(base, location));
  // The id is in the query because browsers remove `.` and `..` from a path, even encoded.
  const response = await fetch(new URL(`providers/${action}?id=${encodeURIComponent(id)}`, root), {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || !answer.providers) {
    throw new Error(answer.error ?? (response.redirected ? 'Signed out: sign in again.' : `Server returned ${response.status}.`));
  }
  return answer.providers[0];
}

// Start.

if (page.control) find('head').append(element('th', 'control'));

find('filter').addEventListener('input', filter);
find('only-unhealthy').addEventListener('change', filter);
find('tools').addEventListener('submit', (event) => event.preventDefault());
setInterval(() => {
  for (const row of rows.values()) if (!row.tr.hidden) tick(row);
  // A connection can die without an error event.
  const silence = seconds() - Math.max(receivedAt, requestedAt);
  if (silence > 3 * page.refresh + 5) {
    setConnection('lost', 'disconnected');
    if (source.readyState !== EventSource.CLOSED) connect();
  }
  drawConnection();
  for (const time of document.querySelectorAll('#changes time')) put(time, clock(new Date(time.dateTime)));
}, 1000);
connect();
