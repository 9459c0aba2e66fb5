// Verifies a delivery in Node, with nothing but the standard library.
//
// usage: node verify.js SECRET SIGNATURE < body    (exit code 0: genuine)
const crypto = require('node:crypto');
const { readFileSync } = require('node:fs');

function verifyWebhook(payload, signature, secret) {
    const expected = 'sha256=' + crypto.createHmac('sha256', secret).update(payload).digest('hex');
    const [a, b] = [Buffer.from(expected), Buffer.from(signature)];
    // In constant time, so that nobody can guess a signature byte by byte.
    return a.length === b.length && crypto.timingSafeEqual(a, b);
}

const [secret, signature] = process.argv.slice(2);
// The bytes as received: a body that was parsed and written again has another signature.
process.exit(verifyWebhook(readFileSync(0), signature, secret) ? 0 : 1);
