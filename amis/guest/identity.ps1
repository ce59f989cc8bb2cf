# Writes into a worker's info\ on which instance it runs, as identity.sh does for other systems, which
# says why and when: at each boot, before the worker starts.
#
#   powershell -File identity.ps1 -Info C:\worker\info

param([Parameter(Mandatory = $true)][string]$Info, [int]$Tries = 60)

$ErrorActionPreference = 'Stop'
$imds = 'http://169.254.169.254/latest'

# The answer's text, to the byte; throws if there is none.
function Ask($method, $path, $headers) {
    $request = [System.Net.HttpWebRequest]::Create("$imds/$path")
    $request.Method = $method
    $request.Proxy = $null
    $request.Timeout = 5000
    foreach ($name in $headers.Keys) { $request.Headers.Add($name, $headers[$name]) }
    if ($method -eq 'PUT') { $request.ContentLength = 0 }
    $response = $request.GetResponse()
    $text = (New-Object System.IO.StreamReader($response.GetResponseStream())).ReadToEnd()
    $response.Close()
    return $text
}

New-Item -ItemType Directory -Force $Info | Out-Null
$Info = (Resolve-Path $Info).Path
$files = @{
    'latent-instance-id' = 'meta-data/instance-id'
    'latent-identity-document' = 'dynamic/instance-identity/document'
    'latent-identity-signature' = 'dynamic/instance-identity/signature'
}
# What an earlier instance wrote must not be sent, whatever follows.
foreach ($name in $files.Keys) { Remove-Item -Force -ErrorAction SilentlyContinue (Join-Path $Info $name) }

$token = $null
while ($null -eq $token) {
    try {
        $token = Ask 'PUT' 'api/token' @{ 'X-aws-ec2-metadata-token-ttl-seconds' = '300' }
    } catch {
        # At a boot the network may come up a little later.
        $Tries -= 1
        if ($Tries -le 0) { throw }
        Start-Sleep -Seconds 1
    }
}
foreach ($name in $files.Keys) {
    $text = Ask 'GET' $files[$name] @{ 'X-aws-ec2-metadata-token' = $token }
    # No mark of UTF-8 and no end of line is added: the signature is of these very bytes.
    [System.IO.File]::WriteAllText((Join-Path $Info $name), $text, (New-Object System.Text.UTF8Encoding($false)))
}
