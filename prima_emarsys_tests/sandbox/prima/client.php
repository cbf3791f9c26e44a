<?php
// PHP's own SoapClient against the local Prima: `php client.php WSDL STYLE < requests.json`.
[, $wsdl, $style] = $argv;
$asked = json_decode(file_get_contents('php://stdin'), true);
$client = new SoapClient($wsdl, ['cache_wsdl' => WSDL_CACHE_NONE, 'exceptions' => true]);
$wrapped = $style === 'document-literal';

// An RPC service gives one bare string back for bare strings; a wrapped one takes and gives a structure.
$call = fn(string $operation, array $parts) => $wrapped
    ? $client->$operation($parts)->oplcResponse
    : $client->$operation(...array_values($parts));

$told = [
    'functions' => count($client->__getFunctions()),
    'simple' => $call('wsomhandler', ['iplcRequest' => $asked['simple']]),
    'company' => $call('comwsomhandler', ['ipcCompany' => '2', 'iplcRequest' => $asked['company']]),
];
try {
    $call('wsomhandler', ['iplcRequest' => $asked['refused']]);
} catch (SoapFault $fault) {
    $told['fault'] = [$fault->faultcode, $fault->detail->FaultDetail->errorMessage];
}
echo json_encode($told);
