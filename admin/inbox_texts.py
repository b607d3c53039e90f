"""The inbox's words, which its script needs as well as its template, in both languages."""

_TEXTS: dict[str, tuple[str, str]] = {
    "inbox": ("收件箱", "Inbox"),
    "waiting": ("等待中的客户", "Waiting customers"),
    "mine": ("我的客户", "My customers"),
    "nobody_waits": ("没有客户在等待", "Nobody is waiting"),
    "none_mine": ("您还没有接待客户", "You have no customers yet"),
    "choose": ("请选择一位客户", "Choose a customer"),
    "claim": ("接待", "Claim"),
    "release": ("退回", "Give back"),
    "reply": ("回复", "Reply"),
    "send": ("发送", "Send"),
    "presence": ("状态", "Status"),
    "online": ("在线", "Online"),
    "away": ("离开", "Away"),
    "connected": ("实时连接正常", "Live"),
    "lost": ("连接中断，正在重连……", "Connection lost, reconnecting…"),
    "taken_by": ("已由 {name} 接待", "{name} has this customer"),
    "yours": ("由您接待", "Yours"),
    "ai": ("智能助手", "Assistant"),
    "customer": ("客户", "Customer"),
    "new_customer": ("新客户等待服务", "A new customer is waiting"),
    "escalation": ("客户仍在等待", "A customer is still waiting"),
    "new_message": ("新消息", "New message"),
    "since": ("{minutes} 分钟前", "{minutes} min ago"),
    "sound": ("声音与通知", "Sound and notifications"),
    "failed": ("操作失败：{reason}", "That failed: {reason}"),
    "interests": ("兴趣", "Interests"),
    "source": ("来源", "Source"),
    "back": ("返回列表", "Back to the list"),
    "channels": ("通知方式", "How I am notified"),
    "channels_help": (
        "收件箱打开时，新客户直接显示在这里。无人在线，或在线却未收到时，依次通过以下方式通知您。",
        "While the inbox is open, new customers appear here. When nobody is online, or nothing confirms in time, these are tried in "
        "their order.",
    ),
    "this_browser": ("此浏览器", "This browser"),
    "push_subscribe": ("开启推送", "Turn on push"),
    "push_unsubscribe": ("关闭推送", "Turn off push"),
    "push_default": (
        "尚未开启。开启时浏览器会询问是否允许通知，请选择“允许”。关闭收件箱后，浏览器仍会提醒您。",
        "Not turned on. The browser will ask whether to allow notifications: choose Allow. It then tells you even when the inbox is closed.",
    ),
    "push_off": (
        "浏览器已允许通知，但推送未开启。",
        "The browser allows notifications, but push is not turned on.",
    ),
    "push_on": (
        "已开启：收件箱关闭时，此浏览器也会收到新客户通知。",
        "Turned on: this browser is told of new customers even when the inbox is closed.",
    ),
    "push_denied": (
        "浏览器已阻止本站的通知。请点击地址栏左侧的图标，在“通知”中选择“允许”，然后重新载入页面。",
        "The browser blocks notifications of this site. Click the icon beside the address, set Notifications to Allow, and reload the page.",
    ),
    "push_unsupported": (
        "此浏览器不支持推送。iPhone 和 iPad 需先将收件箱添加到主屏幕，再从主屏幕打开。",
        "This browser does not support push. On iPhone and iPad add the inbox to the home screen and open it there.",
    ),
    "push_insecure": (
        "推送需要通过 HTTPS 打开收件箱，请联系管理员。",
        "Push needs the inbox to be opened over HTTPS: ask your administrator.",
    ),
    "push_refused": (
        "浏览器的推送服务未接受：{reason}",
        "The browser's push service did not accept it: {reason}",
    ),
    "all_channels": ("全部通知方式", "All channels"),
    "no_channels": (
        "您还没有通知方式：无人在线时将无法通知您。",
        "You have no channel yet: when nobody is online you cannot be told.",
    ),
    "kind_webpush": ("浏览器推送", "Browser push"),
    "channel_kind": ("类型", "Kind"),
    "channel_url": ("地址", "Address (URL)"),
    "channel_name": ("名称（可选）", "Name (optional)"),
    "channel_add": ("添加", "Add"),
    "channel_added": ("已添加，请点击“测试”确认能收到。", "Added. Press Test to see whether it arrives."),
    "url_help": (
        "HTTP：接收 JSON 的网址。Apprise：其支持的任何服务地址，如 tgram://、ntfy://、mailto://。地址加密保存，不再显示；"
        "内部网络地址需管理员允许。",
        "HTTP: a URL that takes JSON. Apprise: the address of any service it speaks, such as tgram://, ntfy:// or mailto://. Addresses are "
        "stored encrypted and not shown again; internal addresses need an administrator's permission.",
    ),
    "channel_on": ("启用", "on"),
    "channel_off": ("停用", "off"),
    "switch_on": ("启用", "Switch on"),
    "switch_off": ("停用", "Switch off"),
    "channel_test": ("测试", "Test"),
    "test_sent": ("测试消息已发出。", "The test was sent."),
    "channel_remove": ("删除", "Remove"),
    "channel_gone": ("已自动停用：{reason}", "Switched off by itself: {reason}"),
    "last_success": ("上次成功：{at}", "Last success: {at}"),
    "last_error": ("上次失败：{at}，{reason}", "Last failure: {at}, {reason}"),
    "never_sent": ("尚未成功发送", "Nothing sent yet"),
    "error_push_gone": ("接收方已不存在，该方式已停用", "the receiver is gone; the channel was switched off"),
    "error_push_unavailable": ("暂时无法送达，请稍后再试", "it cannot be reached now, try again later"),
    "error_push_timed_out": ("接收方没有及时应答", "the receiver did not answer in time"),
    "error_push_test_busy": ("测试仍在进行，请稍后再试", "a test is running already, try again in a moment"),
    "error_push_refused": ("接收方拒绝了消息，请检查地址", "the receiver refused it, check the address"),
    "error_push_bad_url": ("地址格式不正确", "this is no address of this kind"),
    "error_push_internal_address": (
        "内部网络地址，需管理员在设置中允许",
        "the address is an internal one, an administrator can allow it in the settings",
    ),
    "error_too_many_channels": ("最多 10 个通知方式", "there can be at most 10 channels"),
    "needs_script": ("收件箱需要启用 JavaScript。", "The inbox needs JavaScript."),
}
_PLACE = {"zh": 0, "en": 1}


def texts(code: str) -> dict[str, str]:
    """Return the words in the language of this code."""
    return {name: both[_PLACE[code]] for name, both in _TEXTS.items()}
