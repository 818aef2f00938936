// BitMEX's own Node client, bitmex-realtime-api, following every table of XBTUSD.
// Usage: node realtime.js ENDPOINT HTTP_ENDPOINT [KEY SECRET]; each line on stdin is answered with what is known, in JSON.
'use strict';
const readline = require('readline');
const BitMEXClient = require('bitmex-realtime-api');

const [endpoint, httpEndpoint, apiKeyID, apiKeySecret] = process.argv.slice(2);
const client = new BitMEXClient({endpoint, httpEndpoint, apiKeyID, apiKeySecret});
client.socket.logConnection = false;   // stdout belongs to the answers
const said = {errors: [], calls: {}, executions: {}};

client.on('error', (error) => said.errors.push(String(error && error.message || error)));
client.on('end', (code) => said.errors.push('ended with ' + code));
client.on('initialize', () => {
  const tables = apiKeyID ? client.streams.all : client.streams.public;
  tables.forEach((table) => client.addStream('XBTUSD', table, (rows, symbol, name) => {
    said.calls[name] = (said.calls[name] || 0) + 1;
    if (name === 'execution') {
      rows.forEach((row) => { said.executions[row.execID] = row; });
    }
  }));
});

readline.createInterface({input: process.stdin})
  .on('line', () => {
    const tables = {};
    Object.keys(said.calls).forEach((table) => { tables[table] = client.getData('XBTUSD', table); });
    console.log(JSON.stringify({streams: client.streams, tables, ...said}));
  })
  .on('close', () => process.exit(0));
