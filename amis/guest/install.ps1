# Installs the lease watch (lease-watch.ps1 beside this file) as a scheduled task of SYSTEM, armed at
# every boot. Run it elevated in the recipe that makes an AMI; the user data that the controller makes
# runs the same text at the first boot, after it has put the script in its place.
param([int]$MaxLifetime = 43200)

$folder = Join-Path $env:ProgramData 'latent'
$script = Join-Path $folder 'lease-watch.ps1'
New-Item -ItemType Directory -Force $folder | Out-Null
# Nobody but administrators may change what runs as SYSTEM.
icacls.exe $folder /inheritance:r /grant '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' | Out-Null
if ($PSScriptRoot -and (Test-Path (Join-Path $PSScriptRoot 'lease-watch.ps1')) -and ($PSScriptRoot -ne $folder)) {
    Copy-Item -Force (Join-Path $PSScriptRoot 'lease-watch.ps1') $script
}
$run = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$script`" -MaxLifetime $MaxLifetime"
$action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument $run
$minute = New-TimeSpan -Minutes 1
$startup = New-ScheduledTaskTrigger -AtStartup
# Repeats for ever from now on; after a boot the trigger at startup looks at once, and this one goes on.
$every = New-ScheduledTaskTrigger -Once -At (Get-Date) -RepetitionInterval $minute
$settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -MultipleInstances IgnoreNew -ExecutionTimeLimit (New-TimeSpan -Seconds 55)
$principal = New-ScheduledTaskPrincipal -UserId 'SYSTEM' -LogonType ServiceAccount -RunLevel Highest
Register-ScheduledTask -Force -TaskName 'latent lease watch' -Action $action -Trigger $startup, $every -Settings $settings -Principal $principal | Out-Null
