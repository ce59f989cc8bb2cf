# The lease watch for Windows: one look at whether somebody still vouches for this instance. If nobody
# does, it powers the instance off. A scheduled task runs it every minute (install.ps1, README.md).
# It decides as lease-watch.sh does, which says why.

# Both in seconds: where no deadline can be read no uptime is longer than the first, and tags that
# cannot be read for the second end the instance.
param([int]$MaxLifetime = 43200, [int]$Grace = 900, [int]$BootGrace = 300, [int]$ForceAfter = 300)

$ErrorActionPreference = 'Stop'
$imds = 'http://169.254.169.254/latest'
$folder = Join-Path $env:ProgramData 'latent'
$memory = Join-Path $folder 'lease-watch.json'

function Say($text) {
    try {
        if (-not [System.Diagnostics.EventLog]::SourceExists('latent')) { New-EventLog -LogName Application -Source latent }
        Write-EventLog -LogName Application -Source latent -EventId 1 -EntryType Warning -Message $text
    } catch { }
    # The serial port is what EC2 shows as the console output.
    try {
        $port = New-Object System.IO.Ports.SerialPort 'COM1'
        $port.WriteTimeout = 2000
        $port.Open()
        $port.WriteLine("latent-lease-watch: $text")
        $port.Close()
    } catch { }
}

# The answer's status, text and time; a status of 0 is no answer.
function Ask($method, $path, $headers) {
    try {
        $request = [System.Net.HttpWebRequest]::Create("$imds/$path")
        $request.Method = $method
        $request.Proxy = $null
        $request.Timeout = 5000
        foreach ($name in $headers.Keys) { $request.Headers.Add($name, $headers[$name]) }
        if ($method -eq 'PUT') { $request.ContentLength = 0 }
        $response = $request.GetResponse()
    } catch {
        # PowerShell may hand the exception over wrapped into another.
        $fault = $_.Exception
        while (($null -ne $fault) -and ($fault -isnot [System.Net.WebException])) { $fault = $fault.InnerException }
        if (($null -eq $fault) -or ($null -eq $fault.Response)) { return @{ Status = 0; Text = ''; Date = $null } }
        $response = $fault.Response
    }
    $reader = New-Object System.IO.StreamReader($response.GetResponseStream())
    $text = $reader.ReadToEnd()
    $date = [DateTimeOffset]::MinValue
    if (-not [DateTimeOffset]::TryParse($response.Headers['Date'], [Globalization.CultureInfo]::InvariantCulture, 'AssumeUniversal', [ref]$date)) { $date = $null }
    $response.Close()
    return @{ Status = [int]$response.StatusCode; Text = $text; Date = $date }
}

# The seconds that are left of a tag's time; $null if there is no such tag. Throws if it cannot be known.
function Read-Tag($token, $name) {
    $answer = Ask 'GET' "meta-data/tags/instance/$name" @{ 'X-aws-ec2-metadata-token' = $token }
    if ($answer.Status -eq 404) { return $null }
    if ($answer.Status -ne 200) { throw "the tag $name cannot be read: HTTP $($answer.Status)" }
    $end = [DateTimeOffset]::MinValue
    $form = "yyyy-MM-dd'T'HH:mm:ss'Z'"
    if (-not [DateTimeOffset]::TryParseExact($answer.Text.Trim(), $form, [Globalization.CultureInfo]::InvariantCulture, 'AssumeUniversal', [ref]$end)) { throw "the tag $name is no time" }
    if ($null -ne $answer.Date) { $now = $answer.Date; $script:at = $now.ToUnixTimeSeconds() } else { $now = [DateTimeOffset]::UtcNow; $script:clock = 'own' }
    return [long]($end - $now).TotalSeconds
}

function Read-Memory {
    $fresh = @{ Seen = $null; Lease = $null; Deadline = $null; Blind = $null; Ordered = $null; Looked = $null; Woke = 0; At = $null; Complaint = '' }
    try {
        $read = Get-Content -Raw $memory | ConvertFrom-Json
        # What is from an earlier boot is forgotten; the time of a boot moves a little with the clock.
        if ([math]::Abs($read.Boot - $boot) -gt 120) { return $fresh }
        foreach ($name in @($fresh.Keys)) { $fresh[$name] = $read.$name }
    } catch { }
    return $fresh
}

# A hibernated guest goes on where it was, and meets its old lease as one that was just started does.
function Set-Awake($since, $now) {
    if (($null -eq $since) -or ($null -eq $now) -or (($now - $since) -lt $BootGrace)) { return }
    $past.Woke = $up
    $past.Blind = $null
    $past.Lease = $null
    $script:before = $null
}

# Whether something of which so much was left when the tags were read last is over.
function Test-Over($left) {
    return ($null -ne $left) -and (($up - $past.Seen) -ge $left)
}

function Get-Verdict($before) {
    $vouched = ($null -ne $before) -and ($before -gt 0)
    if ((Test-Over $past.Deadline) -and (($clock -eq 'imds') -or ($up -ge $BootGrace))) { return 'the deadline has passed' }
    if ((Test-Over $past.Lease) -and ($vouched -or (($up - $past.Woke) -ge $BootGrace))) { return 'the lease is over, and the controller has not renewed it' }
    if (($null -ne $past.Blind) -and (($up - $past.Blind) -ge $Grace)) { return "for $($up - $past.Blind) s $blind" }
    if ((($null -eq $past.Deadline) -or ($clock -ne 'imds')) -and ($up -ge $MaxLifetime)) { return "it runs for $up s, and no deadline can be relied on" }
    return ''
}

$watch = [System.Diagnostics.Stopwatch]::StartNew()
$system = Get-CimInstance Win32_OperatingSystem
$up = [long]([DateTime]::Now - $system.LastBootUpTime).TotalSeconds
$boot = ([DateTimeOffset]$system.LastBootUpTime).ToUnixTimeSeconds()
$clock = 'imds'
$blind = ''
$complaint = ''
$past = Read-Memory
if ($null -ne $past.Ordered) {
    if (($up - $past.Ordered) -ge $ForceAfter) {
        Say 'still running after the power-off: forced'
        Stop-Computer -Force
    }
    exit 0
}
$before = $past.Lease
$at = $null
Set-Awake $past.Looked $up
try {
    $token = Ask 'PUT' 'api/token' @{ 'X-aws-ec2-metadata-token-ttl-seconds' = '60' }
    if (($token.Status -ne 200) -or ($token.Text -eq '')) { throw "the metadata service does not answer: HTTP $($token.Status)" }
    $deadline = Read-Tag $token.Text 'latent:deadline'
    $lease = Read-Tag $token.Text 'latent:lease'
    # A Xen instance sees no renewal of its lease: only the deadline is watched.
    if ((Get-CimInstance Win32_ComputerSystem).Manufacturer -eq 'Xen') { $lease = $null; $complaint = 'a Xen instance sees no renewal of its lease: only the deadline is watched' }
    elseif (($null -eq $lease) -or ($null -eq $deadline)) { $complaint = "SET-UP ERROR: no latent:lease or latent:deadline in the instance's metadata (are tags allowed there?): without a deadline it is powered off $MaxLifetime s after its boot" }
    $past.Seen = $up
    $past.Lease = $lease
    $past.Deadline = $deadline
    $past.Blind = $null
} catch {
    # What was read last still counts down.
    $blind = $_.Exception.Message
    $complaint = "$blind; powered off if that lasts for $Grace s"
    if ($null -eq $past.Blind) { $past.Blind = $up }
}
# Not every uptime tells that the guest slept, and it may have done so in this look.
Set-Awake $past.At $at
if ($null -ne $at) { $past.At = $at }
if (($complaint -ne '') -and ($complaint -ne $past.Complaint)) { Say $complaint }
$past.Complaint = $complaint
$why = Get-Verdict $before
if ($why -ne '') { $past.Ordered = $up }
$past.Boot = $boot
$past.Looked = $up
try {
    New-Item -ItemType Directory -Force $folder | Out-Null
    $past | ConvertTo-Json | Set-Content $memory
} catch {
    # Without a memory nobody knows since when it is so: since the boot, then.
    if (($blind -ne '') -and ($why -eq '') -and ($up -ge $Grace)) { $why = "$blind, and nothing can be remembered in $folder" }
}

# A spot instance is given two minutes. The worker leaves when the time of its shutdown.stamp changes; its
# base directory is named by a file beside the memory. Once is enough.
function Request-Leave($notice) {
    $told = Join-Path $folder 'lease-watch.leaving'
    if ((Test-Path $told) -and ((Get-Item $told).LastWriteTime -gt $system.LastBootUpTime)) { return }
    $text = "EC2 takes this spot instance back: $notice"
    try {
        $base = (Get-Content (Join-Path $folder 'worker-basedir') -TotalCount 1).Trim()
        Set-Content (Join-Path $base 'shutdown.stamp') $boot
        $text = "$text; the worker in $base is asked to leave"
    } catch { }
    Say $text
    Set-Content $told $boot
}

# Until the next look a spot instance asks every few seconds.
function Watch-Spot($token) {
    $header = @{ 'X-aws-ec2-metadata-token' = $token }
    if ((Ask 'GET' 'meta-data/instance-life-cycle' $header).Text -ne 'spot') { return }
    while ($watch.Elapsed.TotalSeconds -lt 48) {
        $answer = Ask 'GET' 'meta-data/spot/instance-action' $header
        if ($answer.Status -eq 200) { Request-Leave $answer.Text; return }
        Start-Sleep -Seconds 5
    }
}

if ($why -ne '') {
    Say "powering off: $why"
    shutdown.exe /s /t 0 /f /d p:4:1 /c 'latent: nobody vouches for this instance'
} elseif ($blind -eq '') {
    Watch-Spot $token.Text
}
