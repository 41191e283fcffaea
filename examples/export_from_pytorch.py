"""Checks an implementation of your own against Cleave's: what it computes goes into a file of golden vectors.

    python export_from_pytorch.py && cleave loss check mine.h5
"""
import h5py, torch


def my_focal_loss(x, y, gamma):
    log_p = torch.log_softmax(x, dim=1).gather(1, y[:, None])[:, 0]
    return (-(1 - log_p.exp()) ** gamma * log_p).mean()


x = torch.randn(64, 10, dtype=torch.float64, requires_grad=True)
y = torch.randint(10, (64,))
loss = my_focal_loss(x, y, gamma=2.0)
loss.backward()
with h5py.File("mine.h5", "w") as f:
    f.attrs.update(format="cleave-golden-1", loss="focal")
    case = f.create_group("random")
    case.attrs.update(variant="softmax", gamma=2.0, reduction="mean")
    case["inputs/logits"], case["inputs/targets"] = x.detach().numpy(), y.numpy()
    case["outputs/loss"], case["outputs/grad_logits"] = loss.item(), x.grad.numpy()
