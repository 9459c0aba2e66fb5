'use strict';
// Draws /openapi.json. Builds elements and never HTML from text: what the document says is shown,
// not run.

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
let api;

function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

// What a `$ref` stands for; a description beside it wins.
function resolve(object) {
  if (!object || !object.$ref) return object || {};
  const found = object.$ref.slice(2).split('/')
    .reduce((at, key) => at && at[key.replace(/~1/g, '/').replace(/~0/g, '~')], api) || {};
  return { ...resolve(found), ...(object.description && { description: object.description }), from: object.$ref.split('/').pop() };
}

// `code`, **bold** and [links](of pages) in a line.
function inline(text) {
  return (text || '').split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\(https?:[^)]+\))/).map((part) => {
    if (part.startsWith('`')) return el('code', {}, part.slice(1, -1));
    if (part.startsWith('**')) return el('strong', {}, part.slice(2, -2));
    const link = part.match(/^\[([^\]]+)\]\((https?:[^)]+)\)$/);
    return link ? el('a', { href: link[2], rel: 'noreferrer' }, link[1]) : part;
  });
}

function markdown(text) {
  return (text || '').split(/\n{2,}/).map((block) => {
    if (block.startsWith('```')) return el('pre', {}, ...colour(block.replace(/^```\w*\n|\n?```$/g, '')));
    if (block.startsWith('## ')) return el('h2', {}, block.slice(3));
    return el('p', {}, inline(block.replace(/\n/g, ' ')));
  });
}

// JSON in colours.
function colour(text) {
  const token = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g;
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(token)) {
    parts.push(text.slice(at, match.index));
    const [all, string, colon, word] = match;
    if (string) parts.push(el('span', { class: colon ? 'k' : 's' }, string), colon || '');
    else parts.push(el('span', { class: word ? 'w' : 'n' }, all));
    at = match.index + all.length;
  }
  return [...parts, text.slice(at)];
}

function kind(schema) {
  const s = resolve(schema);
  if (s.oneOf || s.anyOf) return (s.oneOf || s.anyOf).map(kind).filter((name) => name !== 'null').join(' or ');
  const types = [s.type].flat().filter(Boolean);
  const names = types.map((type) => {
    if (type === 'array') return `array of ${kind(s.items || {})}`;
    if (type === 'object' && s.from) return s.from;
    if (type === 'string' && s.format === 'date-time') return 'time';
    if (type === 'string' && s.format === 'uri') return 'URL';
    return type;
  });
  return names.join(' or ') || 'any';
}

function rules(s) {
  const list = [];
  const span = (least, most, of) => {
    if (least !== undefined && most !== undefined) list.push(`${least} to ${most.toLocaleString('en')}${of}`);
    else if (most !== undefined) list.push(`at most ${most.toLocaleString('en')}${of}`);
    else if (least !== undefined) list.push(`at least ${least}${of}`);
  };
  span(s.minLength, s.maxLength, ' characters');
  span(s.minItems, s.maxItems, ' entries');
  span(s.minProperties, s.maxProperties, ' entries');
  span(s.minimum, s.maximum, '');
  if (s.uniqueItems) list.push('none twice');
  if (s.default !== undefined) list.push(`default ${JSON.stringify(s.default)}`);
  return list.join(' · ');
}

// The schema whose fields are worth showing: the object itself, or the entries of a list.
function inside(schema) {
  const s = resolve(schema);
  if (s.type === 'array' || (Array.isArray(s.type) && s.items)) return inside(s.items);
  return s;
}

// `asked`: whether it is sent, so that what is required is worth a mark.
function field(name, schema, must, depth, asked = true) {
  const s = resolve(schema);
  const values = s.enum || resolve(s.items).enum;
  const inner = inside(schema);
  const deeper = depth < 5 && (inner.properties || inner.oneOf);
  return el('li', {},
    el('span', { class: 'name' }, name), el('span', { class: 'kind' }, kind(schema)),
    asked && must && el('span', { class: 'must' }, 'required'),
    s.description && el('p', {}, inline(s.description)),
    rules(s) && el('div', { class: 'rules' }, rules(s)),
    values && el('div', { class: 'values' }, values.map((value) => el('code', {}, String(value)))),
    deeper && el('details', {}, el('summary', {}, 'Fields'), fields(inner, depth + 1, asked)));
}

function fields(schema, depth = 0, asked = true) {
  const s = inside(schema);
  if (s.oneOf) {
    return el('ul', { class: 'fields' }, s.oneOf.map((variant, i) => {
      const v = resolve(variant);
      const title = v.description || v.title || v.from || `form ${i + 1}`;
      return el('li', {}, el('p', {}, el('strong', {}, i ? 'or ' : 'either '), inline(title)), fields(v, depth, asked));
    }));
  }
  const required = new Set(s.required);
  const rows = Object.entries(s.properties || {}).map(([name, of]) => field(name, of, required.has(name), depth, asked));
  return el('ul', { class: 'fields' }, rows);
}

// An example's fields in the order of its schema.
function arrange(value, schema) {
  const s = resolve(schema);
  if (Array.isArray(value)) return value.map((entry) => arrange(entry, s.items));
  if (value === null || typeof value !== 'object') return value;
  if (s.oneOf) {
    const fits = (variant) => (resolve(variant).required || []).every((key) => key in value);
    return arrange(value, s.oneOf.find(fits) || {});
  }
  const known = Object.keys(s.properties || {}).filter((key) => key in value);
  const all = [...new Set([...known, ...Object.keys(value)])];
  return Object.fromEntries(all.map((key) => [key, arrange(value[key], (s.properties || {})[key])]));
}

// [[title, text]] of a body's examples.
function examples(content) {
  if (!content) return [];
  const pretty = (value) => JSON.stringify(arrange(value, content.schema), null, 2);
  if (content.example !== undefined) return [['Example', pretty(content.example)]];
  return Object.values(content.examples || {}).map((e) => [e.summary, pretty(resolve(e).value)]);
}

function json(body) {
  return resolve(body).content && resolve(body).content['application/json'];
}

function panel(title, choices) {
  const pre = el('pre', { tabindex: '0' });
  const show = (i) => pre.replaceChildren(...choices[i][2] ? [choices[i][1]] : colour(choices[i][1]));
  const select = choices.length > 1 && el('select', { 'aria-label': title, onchange: () => show(select.selectedIndex) },
    choices.map(([name]) => el('option', {}, name)));
  const copy = el('button', {
    type: 'button',
    onclick: async () => {
      await navigator.clipboard.writeText(pre.textContent);
      copy.textContent = 'Copied';
      setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
    },
  }, 'Copy');
  show(0);
  return el('div', { class: 'panel' }, el('header', {}, el('span', {}, title), select, copy), pre);
}

function curl(method, path, operation) {
  const lines = [`curl ${location.origin}${path}`];
  if (method !== 'get') lines[0] = `curl -X ${method.toUpperCase()} ${location.origin}${path}`;
  if ((operation.security || []).length) lines.push('-H "Authorization: Bearer $TOKEN"');
  const [example] = examples(json(operation.requestBody));
  if (example) lines.push('-H "Content-Type: application/json"', `-d '${example[1].replace(/'/g, "'\\''")}'`);
  return lines.join(' \\\n  ');
}

// A form that sends the request from here, to where this page came from.
function attempt(method, path, operation, parameters) {
  const inputs = parameters.filter((p) => p.in !== 'header')
    .map((p) => [p, el('input', { placeholder: p.required ? 'required' : '', required: p.required })]);
  const [example] = examples(json(operation.requestBody));
  const body = example && el('textarea', { spellcheck: 'false', 'aria-label': 'Body' });
  if (body) body.value = example[1];
  const answer = el('div', {});
  const send = async (event) => {
    event.preventDefault();
    const value = ([p, input]) => [p, input.value.trim()];
    const given = inputs.map(value).filter(([, text]) => text);
    const url = given.filter(([p]) => p.in === 'path')
      .reduce((at, [p, text]) => at.replace(`{${p.name}}`, encodeURIComponent(text)), path);
    const query = new URLSearchParams(given.filter(([p]) => p.in === 'query').map(([p, text]) => [p.name, text]));
    const headers = {};
    const token = document.getElementById('token').value.trim();
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body && body.value.trim()) headers['Content-Type'] = 'application/json';
    try {
      const got = await fetch(url + (query.size ? `?${query}` : ''),
        { method: method.toUpperCase(), headers, body: (body && body.value.trim()) || undefined });
      let text = await got.text();
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it is */ }
      answer.replaceChildren(panel(`${got.status} ${got.statusText}`, [['', text || 'No content']]));
    } catch (error) {
      answer.replaceChildren(el('p', { class: 'bad' }, String(error)));
    }
  };
  return el('details', { class: 'try' }, el('summary', {}, 'Try it'), el('form', { onsubmit: send },
    inputs.map(([p, input]) => el('label', {}, p.name, input)), body && el('label', {}, 'Body', body),
    el('button', {}, 'Send'), answer));
}

function answers(responses) {
  return Object.entries(responses).map(([status, of]) => {
    const response = resolve(of);
    const schema = (json(of) || {}).schema;
    const headers = Object.entries(response.headers || {}).map(([name, header]) => {
      const h = resolve(header);
      return field(name, { ...resolve(h.schema), description: h.description }, false, 9);
    });
    return el('details', {},
      el('summary', {}, el('span', { class: `status ${status < 400 ? 'good' : 'bad'}` }, status), ...inline(response.description)),
      schema && fields(schema, 0, false), headers.length > 0 && el('h4', {}, 'Headers'), el('ul', { class: 'fields' }, headers));
  });
}

function operation(path, method, op) {
  const parameters = (op.parameters || []).map(resolve);
  const of = (place) => parameters.filter((p) => p.in === place);
  const table = (title, list) => list.length > 0 && [el('h4', {}, title), el('ul', { class: 'fields' },
    list.map((p) => field(p.name, { ...resolve(p.schema), description: p.description || resolve(p.schema).description }, p.required, 9)))];
  const roles = (op.security || []).flatMap((s) => Object.values(s).flat());
  const body = json(op.requestBody);
  const choices = Object.entries(op.responses)
    .flatMap(([status, r]) => examples(json(r)).map(([name, text]) => [name === 'Example' ? status : `${status} ${name}`, text]));
  return el('section', { class: 'operation', id: op.operationId },
    el('div', {},
      el('h3', {}, el('a', { href: `#${op.operationId}` }, op.summary)),
      el('div', { class: 'call' }, el('span', { class: `badge ${method}` }, method.toUpperCase()),
        el('span', { class: 'path' }, path.split(/(\{[^}]+\})/).map((part) => (part.startsWith('{') ? el('b', {}, part) : part)))),
      markdown(op.description),
      el('p', { class: 'roles' }, roles.length ? ['For the roles ', roles.flatMap((role, i) => [i ? ', ' : '', el('code', {}, role)])] : 'Needs no token.'),
      table('Path', of('path')), table('Query', of('query')),
      body && [el('h4', {}, 'Body'), fields(body.schema)],
      table('Headers', of('header')),
      el('h4', {}, 'Answers'), el('div', { class: 'answers' }, answers(op.responses))),
    el('div', { class: 'side' },
      panel('Request', [['', curl(method, path, op), true]]),
      choices.length > 0 && panel('Answer', choices),
      attempt(method, path, op, parameters)));
}

function menu(groups) {
  const bar = document.getElementById('menu');
  const lists = groups.map(([tag, list]) => el('div', {}, el('h2', {}, tag.name), el('ul', {}, list.map(({ method, op, path }) =>
    el('li', { 'data-words': `${op.summary} ${path} ${op.operationId}`.toLowerCase() },
      el('a', { href: `#${op.operationId}` }, el('span', { class: `badge ${method}` }, method === 'delete' ? 'DEL' : method.toUpperCase()), op.summary))))));
  const search = el('input', {
    type: 'search', placeholder: 'Find an operation', 'aria-label': 'Find an operation',
    oninput: () => {
      const word = search.value.trim().toLowerCase();
      for (const item of bar.querySelectorAll('li')) item.hidden = !item.dataset.words.includes(word);
      for (const list of lists) list.hidden = !list.querySelector('li:not([hidden])');
    },
  });
  const toggle = el('button', { id: 'open-menu', type: 'button', 'aria-expanded': 'false', onclick: () => set(!bar.classList.contains('open')) }, 'Menu');
  const set = (open) => { bar.classList.toggle('open', open); toggle.setAttribute('aria-expanded', String(open)); };
  bar.addEventListener('click', (event) => { if (event.target.closest('li a')) set(false); });
  bar.replaceChildren(toggle, el('a', { class: 'brand', href: '#' }, 'Studio Webhooks', el('small', {}, `API ${api.info.version}`)),
    el('div', { class: 'list' }, search, lists));
}

// Marks in the menu what is being read.
function follow() {
  const links = new Map([...document.querySelectorAll('#menu li a')].map((a) => [a.hash.slice(1), a]));
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      for (const link of links.values()) link.classList.remove('here');
      links.get(target.id).classList.add('here');
    }
  }, { rootMargin: '-10% 0px -80% 0px' });
  document.querySelectorAll('.operation').forEach((section) => watcher.observe(section));
}

async function draw() {
  const main = document.getElementById('content');
  try {
    api = await (await fetch('/openapi.json')).json();
  } catch (error) {
    main.replaceChildren(el('p', { class: 'bad' }, `/openapi.json cannot be read: ${error}`));
    return;
  }
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, op: item[method] })));
  const groups = api.tags.map((tag) => [tag, all.filter(({ op }) => op.tags.includes(tag.name))]).filter(([, list]) => list.length);
  main.replaceChildren(
    el('h1', {}, api.info.title),
    el('p', { class: 'facts' }, `Version ${api.info.version} · OpenAPI ${api.openapi} · `, el('a', { href: '/openapi.json' }, 'openapi.json')),
    el('div', { class: 'intro' }, markdown(api.info.description),
      el('form', { class: 'token', onsubmit: (event) => event.preventDefault() }, el('label', { for: 'token' }, 'Access token for “Try it”; it stays in this page'),
        el('input', { id: 'token', type: 'password', autocomplete: 'off' }))),
    ...groups.map(([tag, list]) => el('section', { class: 'group' }, el('h2', {}, tag.name), el('p', {}, inline(tag.description)),
      list.map(({ path, method, op }) => operation(path, method, op)))));
  menu(groups);
  follow();
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

draw();
