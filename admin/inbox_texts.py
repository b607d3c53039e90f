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
    "needs_script": ("收件箱需要启用 JavaScript。", "The inbox needs JavaScript."),
}
_PLACE = {"zh": 0, "en": 1}


def texts(code: str) -> dict[str, str]:
    """Return the words in the language of this code."""
    return {name: both[_PLACE[code]] for name, both in _TEXTS.items()}
