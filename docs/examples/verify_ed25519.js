// Verifies a delivery that is signed with Ed25519 in Node, with nothing but the standard library.
//
// usage: node verify_ed25519.js PUBLIC_KEY WEBHOOK_ID WEBHOOK_TIMESTAMP WEBHOOK_SIGNATURE < body
// (the webhook's `public_key` and the three headers; exit code 0: genuine)
const crypto = require('node:crypto');
const { readFileSync } = require('node:fs');

const TOLERANCE = 300; // seconds: what is older may be a copy of an old request

function verifyWebhook(payload, publicKey, id, timestamp, signatures) {
    if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE)) return false;
    const bytes = Buffer.from(publicKey.replace(/^whpk_/, ''), 'base64');
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') };
    const key = crypto.createPublicKey({ key: jwk, format: 'jwk' });
    const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), payload]);
    // Several while keys are rotated: one that fits is enough.
    return signatures.split(' ').some((signature) => {
        const [version, encoded] = signature.split(',');
        return version === 'v1a' && crypto.verify(null, signed, key, Buffer.from(encoded, 'base64'));
    });
}

const [publicKey, id, timestamp, signatures] = process.argv.slice(2);
// The bytes as received: a body that was parsed and written again has another signature.
process.exit(verifyWebhook(readFileSync(0), publicKey, id, timestamp, signatures) ? 0 : 1);
