"""The fields of a Job, as the Kubernetes API has them (batch/v1 and core/v1 of 1.36), and of all that is inside it.

One type a line, ``Type: field …``. A mark says what a field holds: text if there is none, ``#`` a number, ``?`` a flag,
``%`` a quantity, ``*`` anything, ``:Type`` an object; before it, ``[]`` is a list of these and ``{}`` a mapping whose
keys are the user's own. What only the API server sets is left out. A test compares all of it with the client library.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple


class Field(NamedTuple):
    """One field of a type."""

    name: str
    many: str
    """``[]``, ``{}`` or nothing."""
    mark: str
    """``#``, ``?``, ``%``, ``*`` or nothing."""
    type: str
    """Of an object; else nothing."""


TEXT: Final = """
Job: apiVersion kind metadata:ObjectMeta spec:JobSpec
JobSpec: activeDeadlineSeconds# backoffLimit# backoffLimitPerIndex# completionMode completions# managedBy
    manualSelector? maxFailedIndexes# parallelism# podFailurePolicy:PodFailurePolicy podReplacementPolicy
    selector:LabelSelector successPolicy:SuccessPolicy suspend? template:PodTemplateSpec ttlSecondsAfterFinished#
PodFailurePolicy: rules[]:PodFailurePolicyRule
LabelSelector: matchExpressions[]:LabelSelectorRequirement matchLabels{}
SuccessPolicy: rules[]:SuccessPolicyRule
PodTemplateSpec: metadata:ObjectMeta spec:PodSpec
PodFailurePolicyRule: action onExitCodes:PodFailurePolicyOnExitCodesRequirement
    onPodConditions[]:PodFailurePolicyOnPodConditionsPattern
LabelSelectorRequirement: key operator values[]
SuccessPolicyRule: succeededCount# succeededIndexes
ObjectMeta: annotations{} finalizers[] generateName labels{} name namespace ownerReferences[]:OwnerReference
PodSpec: activeDeadlineSeconds# affinity:Affinity automountServiceAccountToken? containers[]:Container
    dnsConfig:PodDNSConfig dnsPolicy enableServiceLinks? hostAliases[]:HostAlias hostIPC? hostNetwork? hostPID?
    hostUsers? hostname hostnameOverride imagePullSecrets[]:LocalObjectReference initContainers[]:Container nodeName
    nodeSelector{} os:PodOS overhead{}% preemptionPolicy priority# priorityClassName readinessGates[]:PodReadinessGate
    resourceClaims[]:PodResourceClaim resources:ResourceRequirements restartPolicy runtimeClassName schedulerName
    schedulingGates[]:PodSchedulingGate schedulingGroup:PodSchedulingGroup securityContext:PodSecurityContext
    serviceAccount serviceAccountName setHostnameAsFQDN? shareProcessNamespace? subdomain
    terminationGracePeriodSeconds# tolerations[]:Toleration topologySpreadConstraints[]:TopologySpreadConstraint
    volumes[]:Volume
PodFailurePolicyOnExitCodesRequirement: containerName operator values[]#
PodFailurePolicyOnPodConditionsPattern: status type
OwnerReference: apiVersion blockOwnerDeletion? controller? kind name uid
Affinity: nodeAffinity:NodeAffinity podAffinity:PodAffinity podAntiAffinity:PodAffinity
Container: args[] command[] env[]:EnvVar envFrom[]:EnvFromSource image imagePullPolicy lifecycle:Lifecycle
    livenessProbe:Probe name ports[]:ContainerPort readinessProbe:Probe resizePolicy[]:ContainerResizePolicy
    resources:ResourceRequirements restartPolicy restartPolicyRules[]:ContainerRestartRule
    securityContext:SecurityContext startupProbe:Probe stdin? stdinOnce? terminationMessagePath
    terminationMessagePolicy tty? volumeDevices[]:VolumeDevice volumeMounts[]:VolumeMount workingDir
PodDNSConfig: nameservers[] options[]:PodDNSConfigOption searches[]
HostAlias: hostnames[] ip
LocalObjectReference: name
PodOS: name
PodReadinessGate: conditionType
PodResourceClaim: name resourceClaimName resourceClaimTemplateName
ResourceRequirements: claims[]:ResourceClaim limits{}% requests{}%
PodSchedulingGate: name
PodSchedulingGroup: podGroupName
PodSecurityContext: appArmorProfile:AppArmorProfile fsGroup# fsGroupChangePolicy runAsGroup# runAsNonRoot? runAsUser#
    seLinuxChangePolicy seLinuxOptions:SELinuxOptions seccompProfile:SeccompProfile supplementalGroups[]#
    supplementalGroupsPolicy sysctls[]:Sysctl windowsOptions:WindowsSecurityContextOptions
Toleration: effect key operator tolerationSeconds# value
TopologySpreadConstraint: labelSelector:LabelSelector matchLabelKeys[] maxSkew# minDomains# nodeAffinityPolicy
    nodeTaintsPolicy topologyKey whenUnsatisfiable
Volume: awsElasticBlockStore:AWSElasticBlockStoreVolumeSource azureDisk:AzureDiskVolumeSource
    azureFile:AzureFileVolumeSource cephfs:CephFSVolumeSource cinder:CinderVolumeSource
    configMap:ConfigMapVolumeSource csi:CSIVolumeSource downwardAPI:DownwardAPIVolumeSource
    emptyDir:EmptyDirVolumeSource ephemeral:EphemeralVolumeSource fc:FCVolumeSource flexVolume:FlexVolumeSource
    flocker:FlockerVolumeSource gcePersistentDisk:GCEPersistentDiskVolumeSource gitRepo:GitRepoVolumeSource
    glusterfs:GlusterfsVolumeSource hostPath:HostPathVolumeSource image:ImageVolumeSource iscsi:ISCSIVolumeSource name
    nfs:NFSVolumeSource persistentVolumeClaim:PersistentVolumeClaimVolumeSource
    photonPersistentDisk:PhotonPersistentDiskVolumeSource portworxVolume:PortworxVolumeSource
    projected:ProjectedVolumeSource quobyte:QuobyteVolumeSource rbd:RBDVolumeSource scaleIO:ScaleIOVolumeSource
    secret:SecretVolumeSource storageos:StorageOSVolumeSource vsphereVolume:VsphereVirtualDiskVolumeSource
NodeAffinity: preferredDuringSchedulingIgnoredDuringExecution[]:PreferredSchedulingTerm
    requiredDuringSchedulingIgnoredDuringExecution:NodeSelector
PodAffinity: preferredDuringSchedulingIgnoredDuringExecution[]:WeightedPodAffinityTerm
    requiredDuringSchedulingIgnoredDuringExecution[]:PodAffinityTerm
EnvVar: name value valueFrom:EnvVarSource
EnvFromSource: configMapRef:ConfigMapEnvSource prefix secretRef:SecretEnvSource
Lifecycle: postStart:LifecycleHandler preStop:LifecycleHandler stopSignal
Probe: exec:ExecAction failureThreshold# grpc:GRPCAction httpGet:HTTPGetAction initialDelaySeconds# periodSeconds#
    successThreshold# tcpSocket:TCPSocketAction terminationGracePeriodSeconds# timeoutSeconds#
ContainerPort: containerPort# hostIP hostPort# name protocol
ContainerResizePolicy: resourceName restartPolicy
ContainerRestartRule: action exitCodes:ContainerRestartRuleOnExitCodes
SecurityContext: allowPrivilegeEscalation? appArmorProfile:AppArmorProfile capabilities:Capabilities privileged?
    procMount readOnlyRootFilesystem? runAsGroup# runAsNonRoot? runAsUser# seLinuxOptions:SELinuxOptions
    seccompProfile:SeccompProfile windowsOptions:WindowsSecurityContextOptions
VolumeDevice: devicePath name
VolumeMount: mountPath mountPropagation name readOnly? recursiveReadOnly subPath subPathExpr
PodDNSConfigOption: name value
ResourceClaim: name request
AppArmorProfile: localhostProfile type
SELinuxOptions: level role type user
SeccompProfile: localhostProfile type
Sysctl: name value
WindowsSecurityContextOptions: gmsaCredentialSpec gmsaCredentialSpecName hostProcess? runAsUserName
AWSElasticBlockStoreVolumeSource: fsType partition# readOnly? volumeID
AzureDiskVolumeSource: cachingMode diskName diskURI fsType kind readOnly?
AzureFileVolumeSource: readOnly? secretName shareName
CephFSVolumeSource: monitors[] path readOnly? secretFile secretRef:LocalObjectReference user
CinderVolumeSource: fsType readOnly? secretRef:LocalObjectReference volumeID
ConfigMapVolumeSource: defaultMode# items[]:KeyToPath name optional?
CSIVolumeSource: driver fsType nodePublishSecretRef:LocalObjectReference readOnly? volumeAttributes{}
DownwardAPIVolumeSource: defaultMode# items[]:DownwardAPIVolumeFile
EmptyDirVolumeSource: medium sizeLimit%
EphemeralVolumeSource: volumeClaimTemplate:PersistentVolumeClaimTemplate
FCVolumeSource: fsType lun# readOnly? targetWWNs[] wwids[]
FlexVolumeSource: driver fsType options{} readOnly? secretRef:LocalObjectReference
FlockerVolumeSource: datasetName datasetUUID
GCEPersistentDiskVolumeSource: fsType partition# pdName readOnly?
GitRepoVolumeSource: directory repository revision
GlusterfsVolumeSource: endpoints path readOnly?
HostPathVolumeSource: path type
ImageVolumeSource: pullPolicy reference
ISCSIVolumeSource: chapAuthDiscovery? chapAuthSession? fsType initiatorName iqn iscsiInterface lun# portals[]
    readOnly? secretRef:LocalObjectReference targetPortal
NFSVolumeSource: path readOnly? server
PersistentVolumeClaimVolumeSource: claimName readOnly?
PhotonPersistentDiskVolumeSource: fsType pdID
PortworxVolumeSource: fsType readOnly? volumeID
ProjectedVolumeSource: defaultMode# sources[]:VolumeProjection
QuobyteVolumeSource: group readOnly? registry tenant user volume
RBDVolumeSource: fsType image keyring monitors[] pool readOnly? secretRef:LocalObjectReference user
ScaleIOVolumeSource: fsType gateway protectionDomain readOnly? secretRef:LocalObjectReference sslEnabled? storageMode
    storagePool system volumeName
SecretVolumeSource: defaultMode# items[]:KeyToPath optional? secretName
StorageOSVolumeSource: fsType readOnly? secretRef:LocalObjectReference volumeName volumeNamespace
VsphereVirtualDiskVolumeSource: fsType storagePolicyID storagePolicyName volumePath
PreferredSchedulingTerm: preference:NodeSelectorTerm weight#
NodeSelector: nodeSelectorTerms[]:NodeSelectorTerm
WeightedPodAffinityTerm: podAffinityTerm:PodAffinityTerm weight#
PodAffinityTerm: labelSelector:LabelSelector matchLabelKeys[] mismatchLabelKeys[] namespaceSelector:LabelSelector
    namespaces[] topologyKey
EnvVarSource: configMapKeyRef:ConfigMapKeySelector fieldRef:ObjectFieldSelector fileKeyRef:FileKeySelector
    resourceFieldRef:ResourceFieldSelector secretKeyRef:SecretKeySelector
ConfigMapEnvSource: name optional?
SecretEnvSource: name optional?
LifecycleHandler: exec:ExecAction httpGet:HTTPGetAction sleep:SleepAction tcpSocket:TCPSocketAction
ExecAction: command[]
GRPCAction: port# service
HTTPGetAction: host httpHeaders[]:HTTPHeader path port* scheme
TCPSocketAction: host port*
ContainerRestartRuleOnExitCodes: operator values[]#
Capabilities: add[] drop[]
KeyToPath: key mode# path
DownwardAPIVolumeFile: fieldRef:ObjectFieldSelector mode# path resourceFieldRef:ResourceFieldSelector
PersistentVolumeClaimTemplate: metadata:ObjectMeta spec:PersistentVolumeClaimSpec
VolumeProjection: clusterTrustBundle:ClusterTrustBundleProjection configMap:ConfigMapProjection
    downwardAPI:DownwardAPIProjection podCertificate:PodCertificateProjection secret:SecretProjection
    serviceAccountToken:ServiceAccountTokenProjection
NodeSelectorTerm: matchExpressions[]:NodeSelectorRequirement matchFields[]:NodeSelectorRequirement
ConfigMapKeySelector: key name optional?
ObjectFieldSelector: apiVersion fieldPath
FileKeySelector: key optional? path volumeName
ResourceFieldSelector: containerName divisor% resource
SecretKeySelector: key name optional?
SleepAction: seconds#
HTTPHeader: name value
PersistentVolumeClaimSpec: accessModes[] dataSource:TypedLocalObjectReference dataSourceRef:TypedObjectReference
    resources:ResourceRequirements selector:LabelSelector storageClassName volumeAttributesClassName volumeMode
    volumeName
ClusterTrustBundleProjection: labelSelector:LabelSelector name optional? path signerName
ConfigMapProjection: items[]:KeyToPath name optional?
DownwardAPIProjection: items[]:DownwardAPIVolumeFile
PodCertificateProjection: certificateChainPath credentialBundlePath keyPath keyType maxExpirationSeconds# signerName
    userAnnotations{}
SecretProjection: items[]:KeyToPath name optional?
ServiceAccountTokenProjection: audience expirationSeconds# path
NodeSelectorRequirement: key operator values[]
TypedLocalObjectReference: apiGroup kind name
TypedObjectReference: apiGroup kind name namespace
"""

_FIELD: Final = re.compile(r"(\w+)(\[\]|\{\})?([#?%*])?(?::(\w+))?")


def plain(name: str) -> str:
    """Return what all spellings of a name have in common: ``host_pid``, ``hostPid`` and ``hostPID`` are one."""
    return name.replace("_", "").lower()


def _parsed(text: str) -> dict[str, dict[str, Field]]:
    types = (entry.partition(":") for entry in re.sub(r"\n +", " ", text).strip().splitlines())
    return {
        name: {plain(found[1]): Field(*found.groups("")) for found in _FIELD.finditer(fields)}
        for name, _, fields in types
    }


TYPES: Final[Mapping[str, Mapping[str, Field]]] = _parsed(TEXT)
"""By type, then by the plain name of the field."""
