# A rebake inside a Windows builder: what rebake.sh does on other systems (it says why), with Windows Update.
#
#   rebake.ps1 start    at each boot: holds the worker, arms the deadline, goes on beside the boot
#   rebake.ps1 go       the work itself, from where it stands; SSM's agent runs it again after 3010
#
# The controller puts the settings before this text: $Nonce, $Channel, $RoundsMax, $DeadlineS, $Services,
# $WorkerVersion, $Clean, $Sysprep, and $OwnerScript in base64. What is remembered stands in one folder.
$Mode = "$($args[0])"
$ErrorActionPreference = 'Stop'
$folder = Join-Path $env:ProgramData 'latent-rebake'
$memory = Join-Path $folder 'memory.json'
$marks = Join-Path $folder 'marks.txt'
$self = Join-Path $folder 'rebake.ps1'
$task = 'latent rebake'
$limit = 'latent rebake deadline'
$packagesMax = 200
# Of these there is another one several times a day.
$definitions = 'e0789628-ce08-4437-be74-2495b842f43b'

# --- Memory and marks.

function Read-Memory {
    $fresh = @{ Phase = 'quiesce'; Step = ''; Boot = ''; Boots = 0; Round = 1; Dirty = $false; Rebooting = ''; Asked = 0; Scripted = $false; Until = ''; Held = @(); Before = $null }
    if (Test-Path $memory) {
        $read = Get-Content -Raw $memory | ConvertFrom-Json
        foreach ($name in @($fresh.Keys)) { if ($null -ne $read.$name) { $fresh[$name] = $read.$name } }
    }
    return $fresh
}

function Save-Memory {
    $mind | ConvertTo-Json -Depth 4 | Set-Content -Encoding UTF8 "$memory.new"
    Move-Item -Force "$memory.new" $memory
}

# The serial port is what EC2 shows as the console output.
function Tell($line) {
    if ($Channel -eq 'ssm') { [Console]::Out.WriteLine($line); return }
    for ($try = 0; $try -lt 20; $try++) {
        try {
            $port = New-Object System.IO.Ports.SerialPort 'COM1'
            $port.WriteTimeout = 5000
            $port.Open()
            $port.WriteLine($line)
            $port.Close()
            return
        } catch {
            # EC2Launch and the lease watch write there as well.
            Start-Sleep -Milliseconds 250
        }
    }
}

function ConvertTo-Value($text) {
    $plain = "$text" -replace '[^\x20-\x7e]', ' '
    if ($plain.Length -gt 300) { $plain = $plain.Substring(0, 300) }
    return [regex]::Replace($plain, '[^A-Za-z0-9._:+~/-]', { param($found) '%{0:X2}' -f [int][char]$found.Value })
}

function Write-Mark($word, $pairs) {
    $number = 1
    if (Test-Path $marks) { $number = @(Get-Content $marks).Count + 1 }
    $line = "latent-rebake $Nonce $number $word"
    foreach ($key in $pairs.Keys) { $line = "$line $key=$(ConvertTo-Value $pairs[$key])" }
    Add-Content -Encoding ASCII $marks $line
    Tell $line
}

function Write-Note($text) { Write-Mark 'note' ([ordered]@{ text = $text }) }

function Enter-Step($name) {
    if ($mind.Step -eq $name) { return }
    $mind.Step = $name
    Save-Memory
    Write-Mark 'step' ([ordered]@{ name = $name })
}

# A console forgets.
function Write-LastMarks { Get-Content $marks -Tail 30 | ForEach-Object { Tell $_ } }

# --- The end, and reboots.

function Stop-Builder($code) {
    if ($Channel -eq 'ssm') {
        # In a minute: first the agent tells what came of it.
        shutdown.exe /s /t 60 /f /d p:4:1 /c 'latent: the rebake is over'
    } else {
        shutdown.exe /s /t 0 /f /d p:4:1 /c 'latent: the rebake is over'
    }
    exit $code
}

function Stop-Failed($code, $why) {
    Write-Mark 'fail' ([ordered]@{ step = $mind.Step; code = $code; why = $why })
    $mind.Phase = 'failed'
    Save-Memory
    Write-LastMarks
    Stop-Builder 1
}

function Restart-Now {
    if ($Channel -eq 'ssm') { exit 3010 }
    shutdown.exe /r /t 0 /f /d p:2:17 /c 'latent: rebake'
    Start-Sleep -Seconds 900
    Stop-Failed 1 'the system does not reboot'
}

function Restart-Builder {
    if ($mind.Boots -gt $RoundsMax + 3) { Stop-Failed 1 "after $($mind.Boots - 1) reboots one more is wanted" }
    Enter-Step 'reboot'
    $mind.Rebooting = $mind.Boot
    Save-Memory
    Restart-Now
}

# The time of the last boot moves a little when the clock is set.
function Test-SameBoot($one, $other) {
    if (($one -eq '') -or ($other -eq '')) { return $false }
    $form = [Globalization.CultureInfo]::InvariantCulture
    return [math]::Abs(([DateTimeOffset]::Parse($one, $form) - [DateTimeOffset]::Parse($other, $form)).TotalSeconds) -lt 30
}

function Enter-Boot {
    $boot = (Get-CimInstance Win32_OperatingSystem).LastBootUpTime.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'")
    if (-not (Test-SameBoot $boot $mind.Boot)) {
        $mind.Boot = $boot
        $mind.Boots = $mind.Boots + 1
        $mind.Dirty = $false
        # A boot writes anew what was cleaned.
        if ($mind.Phase -eq 'off') { $mind.Phase = 'clean' }
        Save-Memory
        Write-Mark 'boot' ([ordered]@{ id = $boot })
    }
    if ($mind.Rebooting -eq '') { return }
    if (-not (Test-SameBoot $boot $mind.Rebooting)) {
        $mind.Rebooting = ''
        $mind.Asked = 0
        Save-Memory
        return
    }
    $mind.Asked = $mind.Asked + 1
    Save-Memory
    if ($mind.Asked -ge 3) { Stop-Failed 1 'the time of the last boot did not change with the reboot' }
    Restart-Now
}

# --- The worker's services and tasks, held.

$ours = 'buildbot-worker|buildbot_worker|buildslave|buildbot\.tac'

function Lock-Worker {
    $known = @($mind.Held | ForEach-Object { "$($_.Kind) $($_.Name)" })
    foreach ($service in Get-CimInstance Win32_Service) {
        if (($service.PathName -notmatch $ours) -and ($service.Name -notmatch 'buildbot.*worker') -and ($Services -notcontains $service.Name)) { continue }
        if ($known -notcontains "service $($service.Name)") { $mind.Held = @($mind.Held) + @{ Kind = 'service'; Name = $service.Name; Mode = $service.StartMode } }
        Save-Memory
        Set-Service -Name $service.Name -StartupType Disabled
        Stop-Service -Name $service.Name -Force -ErrorAction SilentlyContinue
    }
    foreach ($one in Get-ScheduledTask) {
        $runs = ($one.Actions | ForEach-Object { "$($_.Execute) $($_.Arguments)" }) -join ' '
        if (($runs -notmatch $ours) -and ($Services -notcontains $one.TaskName)) { continue }
        if (($one.State -eq 'Disabled') -and ($known -notcontains "task $($one.TaskPath)$($one.TaskName)")) { continue }
        if ($known -notcontains "task $($one.TaskPath)$($one.TaskName)") { $mind.Held = @($mind.Held) + @{ Kind = 'task'; Name = "$($one.TaskPath)$($one.TaskName)"; Mode = '' } }
        Save-Memory
        $one | Stop-ScheduledTask -ErrorAction SilentlyContinue
        $one | Disable-ScheduledTask | Out-Null
    }
    # Workers that a service or a task left behind, and those that nobody started.
    Get-CimInstance Win32_Process | Where-Object { ($_.Name -match '^(pythonw?|twistd|buildbot-worker)') -and ($_.CommandLine -match $ours) } | ForEach-Object { Stop-Process -Id $_.ProcessId -Force -ErrorAction SilentlyContinue }
}

function Unlock-Worker {
    foreach ($one in @($mind.Held)) {
        if ($one.Kind -eq 'task') {
            $at = $one.Name.LastIndexOf('\') + 1
            Enable-ScheduledTask -TaskPath $one.Name.Substring(0, $at) -TaskName $one.Name.Substring($at) | Out-Null
        } else {
            $type = @{ Auto = 'Automatic'; Manual = 'Manual'; Disabled = 'Disabled' }[$one.Mode]
            Set-Service -Name $one.Name -StartupType $type
        }
    }
}

# Where tags can be read, nothing but a builder is touched.
function Test-Role {
    $role = ''
    try {
        $imds = 'http://169.254.169.254/latest'
        $token = Invoke-RestMethod -Method Put -TimeoutSec 5 -Headers @{ 'X-aws-ec2-metadata-token-ttl-seconds' = '60' } "$imds/api/token"
        $role = Invoke-RestMethod -TimeoutSec 5 -Headers @{ 'X-aws-ec2-metadata-token' = $token } "$imds/meta-data/tags/instance/latent:role"
    } catch { return }
    if (($role -eq '') -or ($role -eq 'rebake')) { return }
    Write-Mark 'fail' ([ordered]@{ step = 'quiesce'; code = 1; why = "this instance is no builder: its tag latent:role is $role" })
    Unlock-Worker
    Remove-Traces
    exit 1
}

# --- Updates.

function Test-Pending {
    $keys = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired', 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending'
    return [bool]($keys | Where-Object { Test-Path $_ })
}

function Find-Updates($session) {
    $found = New-Object -ComObject Microsoft.Update.UpdateColl
    $answer = $session.CreateUpdateSearcher().Search("IsInstalled=0 and IsHidden=0 and Type='Software' and BrowseOnly=0")
    foreach ($update in $answer.Updates) {
        if ($update.InstallationBehavior.CanRequestUserInput) { continue }
        if (@($update.Categories | Where-Object { $_.CategoryID -eq $definitions }).Count -gt 0) { continue }
        if (-not $update.EulaAccepted) { $update.AcceptEula() }
        [void]$found.Add($update)
    }
    return , $found
}

function Install-Updates($session, $found) {
    $downloader = $session.CreateUpdateDownloader()
    $downloader.Updates = $found
    # 2 is success; with 3, of several some, the next round tries the others again.
    $result = $downloader.Download()
    if (($result.ResultCode -ne 2) -and ($result.ResultCode -ne 3)) { Stop-Failed $result.ResultCode ('the download: {0:X8}' -f $result.HResult) }
    $installer = $session.CreateUpdateInstaller()
    $installer.Updates = $found
    $result = $installer.Install()
    if (($result.ResultCode -ne 2) -and ($result.ResultCode -ne 3)) { Stop-Failed $result.ResultCode ('the installation: {0:X8}' -f $result.HResult) }
}

# The network may come up a little later than the task.
function Invoke-Patiently($work) {
    for ($try = 1; ; $try++) {
        try { return & $work } catch {
            if ($try -ge 5) { Stop-Failed 1 "the scan for updates: $($_.Exception.Message)" }
            Start-Sleep -Seconds 60
        }
    }
}

# Prints NAME VERSION of each.
function Get-Packages {
    $system = Get-ItemProperty 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $list = @("Windows $($system.CurrentBuild).$($system.UBR)")
    $list += Get-HotFix | ForEach-Object { "$($_.HotFixID) installed" }
    $keys = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\*', 'HKLM:\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall\*'
    $list += Get-ItemProperty $keys -ErrorAction SilentlyContinue | Where-Object { $_.DisplayName -and $_.DisplayVersion } | ForEach-Object { "$($_.DisplayName -replace '\s', '_') $($_.DisplayVersion -replace '\s', '_')" }
    return @($list | Sort-Object -Unique)
}

# --- The steps.

function Invoke-Quiesce {
    Enter-Step 'quiesce'
    Lock-Worker
    Test-Role
    if (@($mind.Held).Count -eq 0) { Write-Note 'no service or task of a worker was found: name it in rebake.service' }
    foreach ($one in @($mind.Held)) { Write-Note "held: $($one.Kind) $($one.Name)" }
    $mind.Phase = 'update'
    Save-Memory
}

function Invoke-Update {
    Enter-Step 'update'
    if ($null -eq $mind.Before) { $mind.Before = Get-Packages; Save-Memory }
    $session = New-Object -ComObject Microsoft.Update.Session
    while ($true) {
        if (Test-Pending) { Restart-Builder }
        $found = Invoke-Patiently { Find-Updates $session }
        $count = $found.Count
        if ($count -eq 0) {
            Write-Mark 'round' ([ordered]@{ n = $mind.Round; found = 0 })
            if (($mind.Boots -gt 1) -and (-not $mind.Dirty)) { break }
            Restart-Builder
        }
        if ($mind.Round -gt $RoundsMax) {
            Write-Mark 'rounds-over' ([ordered]@{ n = $RoundsMax; found = $count })
            Stop-Failed 1 "after $RoundsMax rounds there are still $count updates"
        }
        Write-Mark 'round' ([ordered]@{ n = $mind.Round; found = $count })
        $mind.Dirty = $true
        Save-Memory
        Install-Updates $session $found
        $mind.Round = $mind.Round + 1
        Save-Memory
    }
    $mind.Phase = 'settle'
    Save-Memory
}

# Windows goes on installing for a while after a boot: quiet is when it was quiet twice, two minutes apart.
function Wait-Quiet {
    $quiet = 0
    for ($look = 0; ($look -lt 30) -and ($quiet -lt 2); $look++) {
        $quiet++
        if (Get-Process -Name @('TiWorker', 'MoUsoCoreWorker') -ErrorAction SilentlyContinue) { $quiet = 0 }
        if ($quiet -lt 2) { Start-Sleep -Seconds 120 }
    }
    if ($quiet -lt 2) { Write-Note 'Windows was still installing something after an hour' }
}

function Invoke-Settle {
    Enter-Step 'settle'
    Wait-Quiet
    if (($OwnerScript -ne '') -and (-not $mind.Scripted)) {
        $file = Join-Path $folder 'script.ps1'
        [IO.File]::WriteAllBytes($file, [Convert]::FromBase64String($OwnerScript))
        powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $file *> (Join-Path $folder 'script.log')
        if ($LASTEXITCODE -ne 0) {
            $code = $LASTEXITCODE
            Stop-Failed $code "the owner's script: $(Get-Content (Join-Path $folder 'script.log') -Tail 1)"
        }
        $mind.Scripted = $true
        Save-Memory
    }
    Update-Workers
    foreach ($one in @($mind.Held)) { if ($one.Mode -eq 'Manual' -or $one.Mode -eq 'Disabled') { Write-Note "$($one.Name) does not start at a boot: its start mode is $($one.Mode)" } }
    $mind.Phase = 'clean'
    Save-Memory
}

function Find-Files($name) {
    $roots = Get-ChildItem -Directory 'C:\' -Force -ErrorAction SilentlyContinue | Where-Object { $_.Name -notmatch '^(Windows|\$Recycle\.Bin|System Volume Information)$' }
    return @($roots | ForEach-Object { Get-ChildItem -Path $_.FullName -Recurse -Depth 4 -File -Force -Filter $name -ErrorAction SilentlyContinue })
}

# Only in virtual environments: elsewhere nobody knows what else would change.
function Update-Workers {
    $programs = Find-Files 'buildbot-worker.exe'
    foreach ($program in $programs) {
        $python = Join-Path $program.DirectoryName 'python.exe'
        if (-not (Test-Path (Join-Path $program.Directory.Parent.FullName 'pyvenv.cfg'))) { Write-Note "buildbot-worker in no virtualenv: $($program.FullName)"; continue }
        $version = "$(& $python -c 'import buildbot_worker; print(buildbot_worker.version)')"
        Write-Note "buildbot-worker ${version}: $($program.FullName)"
        if (($WorkerVersion -eq '') -or ([version]$version -ge [version]$WorkerVersion)) { continue }
        & $python -m pip install --disable-pip-version-check --no-cache-dir --upgrade "buildbot-worker>=$WorkerVersion" *> (Join-Path $folder 'pip.log')
        if ($LASTEXITCODE -ne 0) { Stop-Failed $LASTEXITCODE "buildbot-worker is not made ${WorkerVersion}: $(Get-Content (Join-Path $folder 'pip.log') -Tail 1)" }
    }
    if (($programs.Count -eq 0) -and ($WorkerVersion -ne '')) { Write-Note "no buildbot-worker was found: it is not made $WorkerVersion" }
}

function Write-Changes {
    $script:after = Get-Packages
    $old = @{}; $new = @{}
    foreach ($line in $mind.Before) { $name, $version = $line -split ' ', 2; $old[$name] = $version }
    foreach ($line in $after) { $name, $version = $line -split ' ', 2; $new[$name] = $version }
    $changed = @(@($old.Keys) + @($new.Keys) | Sort-Object -Unique | Where-Object { $old[$_] -ne $new[$_] })
    $script:changes = $changed.Count
    foreach ($name in ($changed | Select-Object -First $packagesMax)) {
        $pairs = [ordered]@{ op = '~'; name = $name }
        if (-not $old.ContainsKey($name)) { $pairs.op = '+' } else { $pairs.from = $old[$name] }
        if (-not $new.ContainsKey($name)) { $pairs.op = '-' } else { $pairs.to = $new[$name] }
        Write-Mark 'package' $pairs
    }
    if ($changes -gt $packagesMax) { Write-Mark 'package' ([ordered]@{ op = 'more'; count = $changes - $packagesMax }) }
}

function Clear-Path($path) {
    if (-not [IO.Path]::IsPathRooted($path) -or ($path.TrimEnd('\', '/').Length -lt 4)) { return }
    $item = Get-Item -Force $path -ErrorAction SilentlyContinue
    if ($null -eq $item) { return }
    if ($item.Attributes -band [IO.FileAttributes]::ReparsePoint) { Write-Note "not emptied, it is a link: $path"; return }
    if ($item.PSIsContainer) { Get-ChildItem -Force $path | Remove-Item -Recurse -Force -ErrorAction SilentlyContinue } else { Clear-Content $path }
}

function Invoke-Clean {
    Enter-Step 'clean'
    foreach ($file in (Find-Files 'buildbot.tac')) {
        if (-not (Select-String -Quiet -Pattern 'buildbot_worker|buildslave' -Path $file.FullName)) { continue }
        $base = $file.DirectoryName
        Remove-Item -Force -ErrorAction SilentlyContinue (Join-Path $base 'twistd.pid'), (Join-Path $base 'shutdown.stamp'), (Join-Path $base 'twistd.log*'), (Join-Path $base 'info\latent-*')
    }
    foreach ($path in $Clean) { Clear-Path $path }
    Clear-Path (Join-Path $env:SystemRoot 'SoftwareDistribution\Download')
    $mind.Phase = 'off'
    Save-Memory
}

# So that an instance of the image is given its password, its routes and its user data like a new one.
function Reset-Launch {
    $two = Join-Path $env:ProgramFiles 'Amazon\EC2Launch\EC2Launch.exe'
    $one = Join-Path $env:ProgramData 'Amazon\EC2-Windows\Launch\Scripts\InitializeInstance.ps1'
    if (Test-Path $two) { & $two reset -c | Out-Null; Write-Note 'EC2Launch v2 was reset' }
    elseif (Test-Path $one) { & $one -Schedule | Out-Null; Write-Note 'EC2Launch is scheduled for the next boot' }
    else { Write-Note 'no EC2Launch was found: instances of the image will not run user data' }
}

# It powers off by itself.
function Invoke-Sysprep {
    $two = Join-Path $env:ProgramFiles 'Amazon\EC2Launch\EC2Launch.exe'
    $one = Join-Path $env:ProgramData 'Amazon\EC2-Windows\Launch\Scripts\SysprepInstance.ps1'
    if (Test-Path $two) { & $two sysprep --shutdown } elseif (Test-Path $one) { & $one } else { return }
    Start-Sleep -Seconds 1800
}

function Remove-Traces {
    foreach ($name in $task, $limit) { Unregister-ScheduledTask -TaskName $name -Confirm:$false -ErrorAction SilentlyContinue }
    Remove-Item -Recurse -Force $folder -ErrorAction SilentlyContinue
}

function Invoke-Off {
    Enter-Step 'off'
    Unlock-Worker
    Reset-Launch
    Write-Changes
    $bytes = [Text.Encoding]::UTF8.GetBytes(($after -join "`n") + "`n")
    $sha = -join ([Security.Cryptography.SHA256]::Create().ComputeHash($bytes) | ForEach-Object { $_.ToString('x2') })
    Write-Mark 'done' ([ordered]@{ rounds = $mind.Round - 1; reboots = $mind.Boots - 1; packages = $changes; sha = $sha })
    Write-LastMarks
    Remove-Traces
    if ($Sysprep) { Invoke-Sysprep }
    Stop-Builder 0
}

# --- Who runs what.

function Register-Rebake {
    $user = New-ScheduledTaskPrincipal -UserId 'SYSTEM' -LogonType ServiceAccount -RunLevel Highest
    $settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -MultipleInstances IgnoreNew -StartWhenAvailable -ExecutionTimeLimit ([TimeSpan]::Zero)
    if ($mind.Until -eq '') { $mind.Until = [DateTimeOffset]::UtcNow.AddSeconds($DeadlineS).ToString('o'); Save-Memory }
    # Absolute, so that no reboot prolongs it; a deadline that passed while it was off is kept at once.
    $at = [DateTimeOffset]::Parse($mind.Until, [Globalization.CultureInfo]::InvariantCulture).LocalDateTime
    $off = New-ScheduledTaskAction -Execute 'shutdown.exe' -Argument '/s /t 0 /f /d p:4:1 /c "latent: the deadline of the rebake is over"'
    Register-ScheduledTask -Force -TaskName $limit -Action $off -Trigger (New-ScheduledTaskTrigger -Once -At $at) -Settings $settings -Principal $user | Out-Null
    if ($Channel -eq 'ssm') { return }
    $run = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$self`" go"
    Register-ScheduledTask -Force -TaskName $task -Action $run -Trigger (New-ScheduledTaskTrigger -AtStartup) -Settings $settings -Principal $user | Out-Null
}

function Invoke-Rebake {
    Enter-Boot
    while ($true) {
        switch ($mind.Phase) {
            'quiesce' { Invoke-Quiesce }
            'update' { Invoke-Update }
            'settle' { Invoke-Settle }
            'clean' { Invoke-Clean }
            'off' { Invoke-Off }
            default { Write-LastMarks; Stop-Builder 1 }
        }
    }
}

New-Item -ItemType Directory -Force $folder | Out-Null
# Only one at a time: user data that persists and the task both begin at a boot.
$mutex = New-Object Threading.Mutex($false, 'Global\latent-rebake')
try { if (-not $mutex.WaitOne(0)) { exit 0 } } catch [Threading.AbandonedMutexException] { }
$mind = Read-Memory
Lock-Worker
Register-Rebake
if ($Mode -eq 'start') {
    $mutex.ReleaseMutex()
    Start-ScheduledTask -TaskName $task
    exit 0
}
try { Invoke-Rebake } catch { Stop-Failed 1 "$($_.Exception.Message)" }
