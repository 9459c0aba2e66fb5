// Publishes events to Studio Webhooks from Node: npm install amqplib
//
// usage: node publish.js AMQP_URL FILE    (FILE holds one event a line)
const { readFileSync } = require('node:fs');
const amqp = require('amqplib');

async function main(url, path) {
    const connection = await amqp.connect(url);
    const channel = await connection.createConfirmChannel();
    const returned = [];
    channel.on('return', (message) => returned.push(message.fields.routingKey));
    for (const line of readFileSync(path, 'utf8').split('\n').filter(Boolean)) {
        const event = JSON.parse(line);
        // The line itself, not JSON.stringify(event): `data` arrives byte for byte.
        channel.publish('studio.events', event.event, Buffer.from(line), {
            contentType: 'application/json',
            persistent: true,
            mandatory: true,
        });
        console.log(event.id);
    }
    // Resolves once the broker has every event on disk.
    await channel.waitForConfirms();
    if (returned.length > 0) throw new Error(`no queue for ${returned.join(', ')}`);
    await connection.close();
}

main(...process.argv.slice(2)).catch((error) => {
    console.error(error.message);
    process.exit(1);
});
